import Dispatch
import FoundationEssentials

/// What was found damaged, and what became of it.
struct SpoolDamage: Sendable {
    var reason: String
    /// Where the files are now, as they were found.
    var place: String
    /// Set when a new file was begun: its generation, and what of the old one is in it.
    var next: (generation: Int, load: SpoolFile.Load)?
}

/// Uses the file of a spool, one after the other, on a thread that may wait for the disk.
///
/// A damaged file is copied aside as it was found, and a new one begun with whatever can still be
/// read; what cannot be opened now is tried again at the next use.
///
/// `@unchecked`: what changes is touched on ``queue`` alone.
final class SpoolDisk: @unchecked Sendable {
    let folder: SpoolFolder
    private let queue = DispatchQueue(label: "chatd.spool")
    private var file: SpoolFile?
    private var generation = 1
    /// Damage whose new file could not be begun yet.
    private var unreported: SpoolDamage?
    /// Which cluster the messages belong to; set by a use, for this file and the ones after it.
    var cluster: UUID?
    /// Who is told of damage that this use finds; kept no longer than the use.
    private var onDamage: @Sendable (SpoolDamage) -> Void = { _ in }

    init(_ folder: SpoolFolder) {
        self.folder = folder
    }

    /// Runs `body` with the file. When it finds the file damaged, a new one has been begun before
    /// the error is thrown. Not cancelled by its task: what has begun ends.
    ///
    /// - Parameter onDamage: told of damage, on the queue and before the next use.
    func use<Value: Sendable>(
        onDamage: @escaping @Sendable (SpoolDamage) -> Void,
        _ body: @escaping @Sendable (SpoolFile) throws(SpoolError) -> Value
    ) async throws(SpoolError) -> Value {
        let outcome = await withCheckedContinuation { continuation in
            queue.async {
                self.onDamage = onDamage
                let outcome = self.attempt(body)
                self.onDamage = { _ in }
                continuation.resume(returning: outcome)
            }
        }
        return try outcome.get()
    }

    private func attempt<Value>(
        _ body: (SpoolFile) throws(SpoolError) -> Value
    ) -> Result<Value, SpoolError> {
        do throws(SpoolError) {
            let file = try openFile()
            do throws(SpoolError) {
                return .success(try body(file))
            } catch {
                if case .damaged(_, let reason) = error {
                    try replace(file, reason)
                    _ = try openFile()
                }
                throw error
            }
        } catch {
            return .failure(error)
        }
    }

    private func openFile() throws(SpoolError) -> SpoolFile {
        if let file { return file }
        switch folder.inspect() {
        case .sound: break
        case .lostFile(let reason): try replace(nil, reason)
        case .brokenLog(let reason):
            // SQLite goes on with what is before the break; the rest is in the copy alone.
            let place = try folder.copyAside()
            try folder.markRead(place)
            onDamage(SpoolDamage(reason: reason, place: place))
            let file = try open()
            try file.emptyLog()
            return file
        }
        do throws(SpoolError) {
            return try open()
        } catch {
            guard case .damaged = error else { throw error }
            return try open()  // A file that has just been begun is whole, or the disk is at fault.
        }
    }

    private func open() throws(SpoolError) -> SpoolFile {
        var opened: SpoolFile?
        do throws(SpoolError) {
            let new = try SpoolFile(folder: folder.path, generation: generation)
            opened = new
            try new.prepare(for: cluster)
            // Whatever a crash has left unread is read now; ids make a second time harmless.
            for place in try folder.unread() {
                try SpoolSalvage(place: place).copy(to: new)
                try folder.markRead(place)
            }
            if var damage = unreported {
                damage.next = (generation, try new.load())
                onDamage(damage)
                unreported = nil
            }
            file = new
            return new
        } catch {
            if case .damaged(_, let reason) = error { try replace(opened, reason) }
            throw error
        }
    }

    /// Keeps a copy of a damaged file, and makes room for a new one. The copy comes first: closing
    /// the file would change it.
    private func replace(_ damaged: SpoolFile?, _ reason: String) throws(SpoolError) {
        let place = try folder.copyAside()
        try damaged?.close()
        file = nil
        try folder.removeFiles()
        generation += 1
        unreported = SpoolDamage(reason: reason, place: place)
    }
}
