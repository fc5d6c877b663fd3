package dinh

import dinh.ffi.DinhException as FfiException
import dinh.ffi.InternalException

/** What the trouble with a store is. */
public enum class StoreFailure {
    /** Another process, or another client of this one, has it open. */
    IN_USE,

    /** The key is not the store's. */
    WRONG_KEY,

    /** The disk is full: free some space, then open the store again. */
    DISK_FULL,

    /** The file may not be written. */
    READ_ONLY,

    /** A newer version of the app wrote it. */
    NEWER_FORMAT,

    /** Its bytes are not what this library wrote. */
    DAMAGED,

    /** The file or the disk failed: open the store again. */
    FAILED,
}

/**
 * Why a call failed, by what an app can do about it. [message] is a sentence for developers and logs that names the cause and,
 * where there is one, the remedy; [cause] is what the native library said.
 */
public sealed class DinhException(message: String, cause: Throwable?) : Exception(message, cause) {
    /** The client was closed, or stopped by itself: open the store again. */
    public class Closed(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** The client or the space is locked or paused: unlock or resume it. */
    public class Locked(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** The store's file or disk. */
    public class Store(public val failure: StoreFailure, message: String, cause: Throwable? = null) :
        DinhException(message, cause)

    /** There is no such document, space, branch or value here. */
    public class NotFound(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** This device's member may not do that. */
    public class NotAllowed(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** A rule of the document does not let it happen now, or its space is not for this member. Nothing was written. */
    public class Refused(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** An argument is wrong. Nothing was written. */
    public class Invalid(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** A code that was scanned or typed does not read, or the branch does not confirm it. */
    public class BadCode(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** Something that is on its way is missing: connect, and try again. */
    public class NotReady(message: String, cause: Throwable? = null) : DinhException(message, cause)

    /** A bug in the library, or in a callback of the app's: report it. */
    public class Internal(message: String, cause: Throwable? = null) : DinhException(message, cause)
}

internal fun FfiException.toPublic(): Throwable =
    when (this) {
        is FfiException.Closed -> DinhException.Closed(detail, this)
        is FfiException.Locked -> DinhException.Locked(detail, this)
        is FfiException.Store -> DinhException.Store(StoreFailure.valueOf(failure.name), detail, this)
        is FfiException.NotFound -> DinhException.NotFound(detail, this)
        is FfiException.NotAllowed -> DinhException.NotAllowed(detail, this)
        is FfiException.Refused -> DinhException.Refused(detail, this)
        is FfiException.Invalid -> DinhException.Invalid(detail, this)
        is FfiException.BadCode -> DinhException.BadCode(detail, this)
        is FfiException.NotReady -> DinhException.NotReady(detail, this)
        is FfiException.Cancelled -> kotlinx.coroutines.CancellationException(detail, this)
        is FfiException.Internal -> DinhException.Internal(detail, this)
    }

/** Calls the native library. Whatever it throws becomes a [DinhException]. */
internal inline fun <T> native(call: () -> T): T =
    try {
        call()
    } catch (e: FfiException) {
        throw e.toPublic()
    } catch (e: InternalException) {
        throw DinhException.Internal("the native library panicked: ${e.message}; report this", e)
    } catch (e: IllegalStateException) {
        // What the generated code throws for an object that was freed.
        if (e is kotlinx.coroutines.CancellationException) throw e
        throw DinhException.Closed("this object is closed: open it again to go on", e)
    }
