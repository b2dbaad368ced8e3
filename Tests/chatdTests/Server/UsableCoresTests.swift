import NIOCore
import Testing

@testable import chatd

@Suite struct UsableCoresTests {
    @Test(arguments: [
        ("Name:\tchatd\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n", 2),
        ("Cpus_allowed:\t00000000,80000001\n", 2),
        ("Cpus_allowed:\tffffffff,ffffffff\n", 64),
        ("Cpus_allowed:\t0\n", nil), ("Name:\tchatd\n", nil), ("", nil),
    ])
    func `the mask of the kernel says how many`(status: String, count: Int?) {
        #expect(UsableCores.pinnedCount(status) == count)
    }

    @Test func `there is one, and no more than the machine has`() {
        #expect((1...System.coreCount).contains(UsableCores.count))
    }
}
