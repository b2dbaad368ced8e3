import CoreMetrics
import Logging
import Postgres
import Testing

@testable import chatd

@Suite struct PrometheusRegistryTests {
    private let log = RecordedLog()
    private var logger: Logger { log.logger }

    @Test func `all kinds are written as Prometheus reads them`() {
        let registry = PrometheusRegistry(logger: logger)
        let shard = [("shard", "shard-1")]
        Counter(
            label: "router_writes_total", dimensions: shard + [("outcome", "stored")],
            factory: registry
        ).increment(by: 3)
        FloatingPointCounter(label: "work_seconds_total", factory: registry).increment(by: 0.25)
        Meter(label: "router_queue_rows", dimensions: shard, factory: registry).set(7)
        Recorder(label: "router_batch_rows", factory: registry).record(3)
        Timer(label: "router_read_seconds", dimensions: shard, factory: registry)
            .recordNanoseconds(3_000_000)
        registry.read("process_max_fds", .gauge) { 1_024 }

        let text = registry.text()

        #expect(text == Golden.allKinds)
    }

    @Test func `a bucket holds what the smaller ones hold, and its own bound`() {
        let histogram = PrometheusHistogram(bounds: [1, 2, 4])

        for value in [0.5, 1, 1.5, 4, 4.5, .infinity, .nan] { histogram.record(value) }

        #expect(histogram.snapshot == .init(cumulated: [2, 3, 4, 5], sum: 11.5))
    }

    @Test func `names and values cannot break the format`() {
        let registry = PrometheusRegistry(logger: logger)

        Meter(
            label: "9 tails/größe", dimensions: [("le", "a\"b\\c\nd"), ("__x y", "é"), ("9", "")],
            factory: registry
        ).set(1)

        #expect(
            registry.text() == """
                # HELP _9_tails_gr__e  9 tails gr  e
                # TYPE _9_tails_gr__e gauge
                _9_tails_gr__e{_9="",_x_y="é",le_="a\\"b\\\\c\\nd"} 1

                """)
    }

    @Test func `a counter ends in total and a timer in seconds, whatever they are called`() {
        let registry = PrometheusRegistry(logger: logger)

        Counter(label: "jobs", factory: registry).increment()
        Timer(label: "job", factory: registry).recordSeconds(1)

        #expect(registry.text().contains("\njobs_total 1\n"))
        #expect(registry.text().contains("\njob_seconds_sum 1\n"))
    }

    @Test func `numbers are written so that they can be read back`() {
        let texts = [0, -2, 0.0005, 1e21, 0.1 + 0.2, .infinity, -.infinity, .nan].map {
            PrometheusText.number($0)
        }

        #expect(
            texts == [
                "0", "-2", "0.0005", "1e+21", "0.30000000000000004", "+Inf", "-Inf", "NaN",
            ])
    }

    @Test func `the same name and dimensions are the same series, in any order`() {
        let registry = PrometheusRegistry(logger: logger)

        for dimensions in [[("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]] {
            let counter = Counter(label: "hits_total", dimensions: dimensions, factory: registry)
            counter.increment()
            counter.destroy()
        }

        #expect(registry.text().contains("\nhits_total{a=\"1\",b=\"2\"} 2\n"))
    }

    @Test func `what many threads record adds up`() async {
        let registry = PrometheusRegistry(logger: logger)
        let meter = Meter(label: "level", factory: registry)

        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask { @concurrent in
                    let counter = Counter(label: "hits_total", factory: registry)
                    let parts = FloatingPointCounter(label: "parts_total", factory: registry)
                    let recorder = Recorder(label: "rows", factory: registry)
                    for _ in 0..<10_000 {
                        counter.increment()
                        parts.increment(by: 0.5)
                        recorder.record(2)
                        meter.increment(by: 3)
                        meter.decrement(by: 2)
                    }
                }
            }
        }

        let lines = registry.text().split(separator: "\n")
        #expect(lines.contains("hits_total 80000"))
        #expect(lines.contains("parts_total 40000"))
        #expect(lines.contains("level 80000"))
        #expect(lines.contains("rows_bucket{le=\"1\"} 0"))
        #expect(lines.contains("rows_bucket{le=\"+Inf\"} 80000"))
        #expect(lines.contains("rows_sum 160000"))
        #expect(lines.contains("rows_count 80000"))
    }

    @Test func `of two kinds with one name the first one is kept, and said once`() {
        let registry = PrometheusRegistry(logger: logger)
        Meter(label: "rows", factory: registry).set(1)

        for number in 0..<3 {
            Recorder(label: "rows", dimensions: [("n", "\(number)")], factory: registry).record(2)
        }

        #expect(registry.text() == "# HELP rows rows\n# TYPE rows gauge\nrows 1\n")
        #expect(log.lines(.warning).count == 1)
        #expect(log.all.hasPrefix("a metric has the name of one of another kind and is not kept"))
    }

    @Test func `a name that a histogram writes is taken`() {
        let registry = PrometheusRegistry(logger: logger)
        Recorder(label: "rows", factory: registry).record(1)

        Meter(label: "rows_count", factory: registry).set(9)
        Counter(label: "hits_total", factory: registry).increment()
        registry.read("hits_total", .counter) { 9 }

        #expect(registry.text().contains("\nrows_count 1\n"))
        #expect(registry.text().contains("\nhits_total 1\n"))
        #expect(!registry.text().contains(" 9\n"))
        #expect(log.lines(.warning).count == 2)
    }

    @Test func `beyond the bound new series are not kept, and old ones go on`() {
        let registry = PrometheusRegistry(limits: PrometheusLimits(series: 2), logger: logger)

        for _ in 0..<2 {
            for room in 0..<5 {
                Counter(
                    label: "hits_total", dimensions: [("room", "\(room)")], factory: registry
                ).increment()
            }
        }

        let values = registry.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(values == ["hits_total{room=\"0\"} 2", "hits_total{room=\"1\"} 2"])
        #expect(log.lines(.warning).count == 1)
        #expect(log.all.hasPrefix("there are too many metrics; new ones are not kept"))
    }

    @Test func `the process tells about itself`() throws {
        let registry = PrometheusRegistry(logger: logger)

        ProcessReadings.add(to: registry)

        let now = ChatClock.system.time().microsecondsSince1970 / 1_000_000
        #expect(try #require(ProcessReadings.startTime()) <= Double(now) + 1)
        #expect(try #require(ProcessReadings.startTime()) > Double(now) - 86_400)
        #expect(try #require(ProcessReadings.cpuSeconds()) > 0)
        #expect(try #require(ProcessReadings.residentBytes()) > 1_000_000)
        #expect(try #require(ProcessReadings.openFiles()) >= 3)
        #expect(
            try #require(ProcessReadings.maximumFiles())
                >= #require(ProcessReadings.openFiles()))
        #expect(registry.families.count == 5)
    }
}

private enum Golden {
    static let allKinds = """
        # HELP process_max_fds Files and sockets that may be open.
        # TYPE process_max_fds gauge
        process_max_fds 1024
        # HELP router_batch_rows Rows in one transaction.
        # TYPE router_batch_rows histogram
        router_batch_rows_bucket{le="1"} 0
        router_batch_rows_bucket{le="2"} 0
        router_batch_rows_bucket{le="4"} 1
        router_batch_rows_bucket{le="8"} 1
        router_batch_rows_bucket{le="16"} 1
        router_batch_rows_bucket{le="32"} 1
        router_batch_rows_bucket{le="64"} 1
        router_batch_rows_bucket{le="128"} 1
        router_batch_rows_bucket{le="256"} 1
        router_batch_rows_bucket{le="512"} 1
        router_batch_rows_bucket{le="1024"} 1
        router_batch_rows_bucket{le="+Inf"} 1
        router_batch_rows_sum 3
        router_batch_rows_count 1
        # HELP router_queue_rows Writes that wait for a shard or are on their way.
        # TYPE router_queue_rows gauge
        router_queue_rows{shard="shard-1"} 7
        # HELP router_read_seconds Time to read from a shard.
        # TYPE router_read_seconds histogram
        router_read_seconds_bucket{shard="shard-1",le="0.0005"} 0
        router_read_seconds_bucket{shard="shard-1",le="0.001"} 0
        router_read_seconds_bucket{shard="shard-1",le="0.0025"} 0
        router_read_seconds_bucket{shard="shard-1",le="0.005"} 1
        router_read_seconds_bucket{shard="shard-1",le="0.01"} 1
        router_read_seconds_bucket{shard="shard-1",le="0.025"} 1
        router_read_seconds_bucket{shard="shard-1",le="0.05"} 1
        router_read_seconds_bucket{shard="shard-1",le="0.1"} 1
        router_read_seconds_bucket{shard="shard-1",le="0.25"} 1
        router_read_seconds_bucket{shard="shard-1",le="0.5"} 1
        router_read_seconds_bucket{shard="shard-1",le="1"} 1
        router_read_seconds_bucket{shard="shard-1",le="2.5"} 1
        router_read_seconds_bucket{shard="shard-1",le="5"} 1
        router_read_seconds_bucket{shard="shard-1",le="10"} 1
        router_read_seconds_bucket{shard="shard-1",le="+Inf"} 1
        router_read_seconds_sum{shard="shard-1"} 0.003
        router_read_seconds_count{shard="shard-1"} 1
        # HELP router_writes_total Writes that ended, by outcome.
        # TYPE router_writes_total counter
        router_writes_total{outcome="stored",shard="shard-1"} 3
        # HELP work_seconds_total work seconds total
        # TYPE work_seconds_total counter
        work_seconds_total 0.25

        """
}
