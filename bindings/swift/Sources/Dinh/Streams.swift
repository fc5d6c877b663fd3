import DinhFFI

/// A stream of the native library's.
protocol NativeStream: AnyObject, Sendable {
    func cancel()
}

extension DinhFFI.DocumentStream: NativeStream {}
extension DinhFFI.SnapshotStream: NativeStream {}
extension DinhFFI.StatusStream: NativeStream {}
extension DinhFFI.EventStream: NativeStream {}

/// Frees a stream's wait when whoever iterates is gone.
private final class Owner<S: NativeStream>: Sendable {
    let stream: S

    init(_ stream: S) { self.stream = stream }

    deinit { stream.cancel() }
}

/// How many streams and waits of this process the native library has not freed: for tests that look for leaks.
func liveStreams() -> Int { Int(DinhFFI.liveStreams()) }

/// Asks for the next thing when the iterator is done with the last one, so a slow one costs bounded memory. Cancelling the task
/// that iterates, or dropping the stream, ends the wait in the native library.
func pull<S: NativeStream, T: Sendable>(
    _ stream: S, _ next: @escaping @Sendable (S) async throws -> T?
) -> AsyncThrowingStream<T, any Error> {
    let owner = Owner(stream)
    return AsyncThrowingStream {
        try await withTaskCancellationHandler {
            try await native { try await next(owner.stream) }
        } onCancel: {
            owner.stream.cancel()
        }
    }
}

/// The same for streams that do not fail.
func pullQuietly<S: NativeStream, T: Sendable>(
    _ stream: S, _ next: @escaping @Sendable (S) async throws -> T?
) -> AsyncStream<T> {
    let owner = Owner(stream)
    return AsyncStream {
        await withTaskCancellationHandler {
            try? await next(owner.stream)
        } onCancel: {
            owner.stream.cancel()
        }
    }
}
