package dinh

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/**
 * A cold flow over a stream of the native library's: it asks for the next thing when the collector is done with the last one, so
 * a slow collector costs bounded memory. Cancelling the collector's coroutine frees the stream.
 */
internal fun <S : AutoCloseable, T : Any> pull(
    open: () -> S,
    next: suspend (S) -> T?,
    cancel: (S) -> Unit,
): Flow<T> = flow {
    native(open).use { stream ->
        try {
            while (true) {
                emit(native { next(stream) } ?: break)
            }
        } finally {
            cancel(stream)
        }
    }
}
