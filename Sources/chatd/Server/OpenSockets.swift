import ServiceLifecycle
import Synchronization

/// Counts the WebSockets of the server. As a service it ends, after a shutdown began, when the last
/// one is closed: all of them soon are, since a closed socket that is not answered is cut.
final class OpenSockets: Service {
    private struct State {
        var count = 0
        var isStopping = false
    }

    private let state = Mutex(State())
    private let empty: AsyncStream<Void>
    private let emptied: AsyncStream<Void>.Continuation

    init() {
        (empty, emptied) = AsyncStream.makeStream()
    }

    var count: Int { state.withLock { $0.count } }

    func opened() {
        state.withLock { $0.count += 1 }
    }

    func closed() {
        let isLast = state.withLock { state in
            precondition(state.count > 0, "a socket is closed once")
            state.count -= 1
            return state.count == 0 && state.isStopping
        }
        if isLast { emptied.finish() }
    }

    func run() async throws {
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                for await _ in empty {}
            } onGracefulShutdown: {
                self.stop()
            }
        } onCancel: {
            emptied.finish()
        }
    }

    private func stop() {
        let isEmpty = state.withLock { state in
            state.isStopping = true
            return state.count == 0
        }
        if isEmpty { emptied.finish() }
    }
}
