package dinh

import dinh.ffi.Client as FfiClient
import dinh.ffi.ClientOptions as FfiOptions
import dinh.ffi.DinhException as FfiException
import kotlin.time.Duration
import kotlinx.coroutines.flow.Flow

/** The secrets of a device, 32 bytes each: drawn once by [generate], and kept in the platform's keystore. */
public class Secrets(
    /** Who this device is: at hand after the phone's first unlock, so that the client syncs in the background. */
    public val device: ByteArray,
    /** What opens protected spaces, behind biometry. Without it the client opens with those locked. */
    public val wrap: ByteArray?,
    /** The public half of [wrap], which is no secret. */
    public val wrapPublic: ByteArray,
    /** What encrypts the store. If it is lost, so is what was not synced. */
    public val store: ByteArray,
) {
    override fun toString(): String = "Secrets"

    internal fun toFfi() = dinh.ffi.Secrets(device, wrap, wrapPublic, store)

    public companion object {
        /** Draws the secrets of a new device. */
        public fun generate(): Secrets =
            native { dinh.ffi.generateSecrets() }.let { Secrets(it.device, it.wrap, it.wrapPublic, it.store) }
    }
}

/** The connection to the relay. */
public enum class LinkState {
    /** No connection. */
    OFFLINE,

    /** A connection is being made. */
    CONNECTING,

    /** Connected; older items are still coming. */
    CATCHING_UP,

    /** Connected; everything is received. */
    LIVE,
}

/** Whether a client works. */
public enum class Lifecycle {
    /** It does. */
    OPEN,

    /** It is locked or paused. */
    LOCKED,

    /** It was closed. */
    CLOSED,

    /** It stopped by itself, because its store failed: open it again. */
    STOPPED,
}

/** Where a client stands. */
public data class Status(
    /** The connection to the relay. */
    public val link: LinkState,
    /** Whether everything that is saved here is in the relay's durable log, and everything there is here. */
    public val isSynced: Boolean,
    /** Changes that are saved here and not in the relay's durable log yet. */
    public val pending: Int,
    /** Changes that are saved here and go nowhere, because this device may not read their space any more. */
    public val stranded: Int,
    /** Whether protected spaces are locked. */
    public val isProtectedLocked: Boolean,
    /** Why there is no connection, if there should be one: for people who look into it. */
    public val trouble: String?,
    /** Whether the client works. */
    public val lifecycle: Lifecycle,
)

/** What went over sockets since a client was opened: bytes of WebSocket payloads. */
public data class Traffic(
    /** Bytes sent. */
    public val bytesUp: Long,
    /** Bytes received. */
    public val bytesDown: Long,
    /** Connections that came about. */
    public val connections: Long,
)

/** Something that was refused for good, by the relay or by this device: kept for people who look into it. */
public class Quarantined internal constructor(
    /** The item's id, if it was read that far. */
    public val item: String?,
    /** Its author's device, if it was read that far. */
    public val device: String?,
    /** The document that it is of, if it is of one. */
    public val doc: String?,
    /** Why it was refused. */
    public val detail: String,
    /** The item as it came. */
    public val bytes: ByteArray,
) {
    override fun toString(): String = "Quarantined(item=$item, device=$device, doc=$doc, detail=$detail)"
}

/** How a wait for everything to be synced ended. */
public sealed interface SyncOutcome {
    /** Everything is synced. */
    public data object Synced : SyncOutcome

    /** Connected, but not done in time: it goes on from there next time. */
    public data class Partial(public val pending: Int) : SyncOutcome

    /** No connection. */
    public data class Offline(public val trouble: String?) : SyncOutcome
}

/**
 * A device's store and its connection to a relay. One client at a time may have a store open.
 *
 * Every function may be called from any thread, the main thread included: work is done on a thread of the library's. What writes
 * returns when the write is on this device's disk, whatever the network does. A coroutine that is cancelled while it waits for a
 * write may have written.
 */
public class Client private constructor(internal val ffi: FfiClient) : AutoCloseable {
    /** This device's id. */
    public val device: String = native { ffi.device() }

    /** Where the client stands now. */
    public val status: Status
        get() = native { ffi.status() }.toPublic()

    /**
     * Where the client stands: now, and at every change. Ends when the client is closed. In a view model:
     * `client.statuses.stateIn(viewModelScope, SharingStarted.WhileSubscribed(), client.status)`.
     */
    public val statuses: Flow<Status> =
        pull({ ffi.statusStream() }, { it.next()?.toPublic() }, { it.cancel() })

    /** The code that this device shows to be admitted to a branch. */
    public val joinCode: String = native { ffi.joinCode() }

    /**
     * What happens besides the content of documents, from the moment of collecting. Ends when the client is closed. To miss nothing of
     * what the next line of code sets off, begin with `launch(start = CoroutineStart.UNDISPATCHED) { client.events.collect { … } }`.
     */
    public val events: Flow<ClientEvent> = pull({ ffi.eventStream() }, { it.next()?.toPublic() }, { it.cancel() })

    /** What went over sockets since the client was opened. */
    public val traffic: Traffic
        get() = native { ffi.traffic() }.let { Traffic(it.bytesUp.toLong(), it.bytesDown.toLong(), it.connections.toLong()) }

    /**
     * The address of the relay to which a connection is kept, if any: the one that was given to [open], that a welcome code named, or
     * that was set. An app keeps it and gives it to [open] the next time: the client does not.
     */
    public val relay: String?
        get() = native { ffi.relay() }

    /** Connects to another relay from now on, or to none. [address] as the relay printed it: `wss://host/dinh/v1#KEY`. */
    public fun setRelay(address: String?): Unit = native { ffi.setRelay(address) }

    /** The system says that the network changed: the relay is asked at once whether it is there, or dialled. */
    public fun networkChanged(): Unit = native { ffi.networkChanged() }

    /** The app is in the foreground again: its connection may have died while it slept. */
    public fun foregrounded(): Unit = native { ffi.foregrounded() }

    /**
     * Everything typed is on disk when this returns: for the moment when the app goes to the background. If something that was typed
     * cannot be saved, this says why; everything else is.
     */
    public suspend fun flush(): Unit = native { ffi.flush() }

    /**
     * Waits until everything is synced, at most [timeout]: for background work. A connection is first asked whether it is still alive.
     * [SyncOutcome.Offline] comes as soon as an attempt to connect has failed, or after [timeout] if there is no relay to connect to.
     * Cancelling the coroutine ends the wait.
     */
    public suspend fun sync(timeout: Duration): SyncOutcome {
        val wait = native { ffi.sync(timeout.inWholeMilliseconds.coerceAtLeast(0).toULong()) }
        return wait.use { native { it.run() } }.toPublic()
    }

    /**
     * Closes the store's files until [resume]. Flows stay, and tell that nothing can be read meanwhile; calls fail with
     * [DinhException.Locked]. If something that was typed cannot be saved, this says why; it stays in its field, and the client is paused
     * all the same. No error if it was paused already.
     */
    public suspend fun pause(): Unit = native { ffi.pause() }

    /** Goes on after [pause], with protected spaces locked if they were. No error if it was not paused; after [lock] it fails. */
    public suspend fun resume(): Unit = native { ffi.resume() }

    /** As [pause], and forgets the keys: for a phone that is put away. What a search found before is forgotten too. */
    public suspend fun lock(): Unit = native { ffi.lock() }

    /** Opens a locked client again. Without [Secrets.wrap], protected spaces stay locked. */
    public suspend fun unlock(secrets: Secrets): Unit = native { ffi.unlock(secrets.toFfi()) }

    /** Locks protected spaces until [unlockProtected], also over a pause; everything else goes on. */
    public suspend fun lockProtected(): Unit = native { ffi.lockProtected() }

    /** Takes the wrap secret back: everything can be read again. */
    public suspend fun unlockProtected(wrap: ByteArray): Unit = native { ffi.unlockProtected(wrap) }

    /** From now on another key of 32 bytes opens the store. Keep both until this returns. */
    public suspend fun changeStoreKey(key: ByteArray): Unit = native { ffi.changeStoreKey(key) }

    /** Everything that was refused for good: see [ClientEvent.Refused]. */
    public suspend fun quarantined(): List<Quarantined> =
        native { ffi.quarantined() }.map { Quarantined(it.item, it.device, it.doc, it.detail, it.bytes) }

    /**
     * Lets a run in that its author's rights do not, on all devices: by an officer. [doc] and [run] are those of
     * [ClientEvent.RunDenied].
     */
    public suspend fun releaseRun(doc: String, run: String): Unit = native { ffi.releaseRun(doc, run) }

    /** A generic document: nothing is read until it is used. */
    public fun document(id: String): Document = Document(this, id)

    /**
     * Saves what is typed and closes the store, which can be opened again when this returns. Does not wait for anything to be sent.
     * The second time nothing happens.
     */
    public suspend fun shutdown() {
        try {
            native { ffi.shutdown() }
        } catch (e: DinhException.Closed) {
            // It was closed before; what it says is thrown if it stopped by itself.
            if (e.cause is FfiException) throw e
        } finally {
            close()
        }
    }

    /** Frees the client. What calls have confirmed is on disk; to know when the store can be opened again, use [shutdown]. */
    override fun close(): Unit = ffi.close()

    public companion object {
        /**
         * Opens the store and starts; the first connection is dialled in the background.
         *
         * @param store the store's file; made if it is not there. Its folder must exist.
         * @param marker a small file in a place that no backup holds (Android: below `getNoBackupFilesDir()`).
         * @param relay the relay to keep a connection to, as it printed its address; none to stay offline.
         * @param tlsRoots certificates (X.509, DER) of authorities that are trusted beside Mozilla's, for relays behind `wss://`.
         * @param verifyStore whether opening reads the whole file and compares its checksums.
         * @param openDocumentsBytesMax open documents are closed, least recently used first, when they take more than this many bytes of
         * memory together.
         */
        public suspend fun open(
            store: String,
            marker: String,
            secrets: Secrets,
            relay: String? = null,
            tlsRoots: List<ByteArray> = listOf(),
            verifyStore: Boolean = true,
            openDocumentsBytesMax: Int = 16 shl 20,
        ): Client {
            val options =
                FfiOptions(
                    storePath = store,
                    markerPath = marker,
                    relay = relay,
                    tlsRoots = tlsRoots,
                    verifyStore = verifyStore,
                    openDocumentsBytesMax = openDocumentsBytesMax.coerceAtLeast(0).toULong(),
                )
            return Client(native { FfiClient.open(options, secrets.toFfi()) })
        }
    }
}

private fun dinh.ffi.Status.toPublic() =
    Status(
        link = LinkState.valueOf(link.name),
        isSynced = isSynced,
        pending = pending.toInt(),
        stranded = stranded.toInt(),
        isProtectedLocked = protectedLocked,
        trouble = trouble,
        lifecycle = Lifecycle.valueOf(lifecycle.name),
    )

private fun dinh.ffi.SyncOutcome.toPublic(): SyncOutcome =
    when (this) {
        is dinh.ffi.SyncOutcome.Synced -> SyncOutcome.Synced
        is dinh.ffi.SyncOutcome.Partial -> SyncOutcome.Partial(pending.toInt())
        is dinh.ffi.SyncOutcome.Offline -> SyncOutcome.Offline(trouble)
    }
