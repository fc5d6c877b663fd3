package dinh

/** How much is logged. */
public enum class LogLevel {
    /** Nothing. */
    OFF,

    /** What should not happen. */
    ERROR,

    /** What is odd. */
    WARN,

    /** What happens, in few lines. */
    INFO,

    /** For whoever looks into something. */
    DEBUG,

    /** Everything. */
    TRACE,
}

/** A line of the library's log. It never holds what stands in documents, names or keys; it holds ids and addresses. */
public data class LogRecord(
    /** How important it is. */
    public val level: LogLevel,
    /** The part of the library. */
    public val target: String,
    /** What happened, with its fields. */
    public val text: String,
)

/**
 * The library's log, for the app's. Until [install] nothing is logged.
 *
 * ```
 * Logging.install(LogLevel.INFO) { Log.println(Log.INFO, it.target, it.text) }
 * ```
 */
public object Logging {
    /**
     * Gives the log to the app from now on: once in a process, best before the first client is opened. The second time fails with
     * [DinhException.Invalid].
     *
     * @param sink takes a line. It is called on any thread of the library's, on several at once, and the library waits for it: it must
     * be quick, and must not call the library. What it throws is lost.
     */
    public fun install(level: LogLevel, sink: (LogRecord) -> Unit): Unit =
        native { dinh.ffi.installLog(dinh.ffi.LogLevel.valueOf(level.name), Sink(sink)) }

    /** Logs as much as this from now on. */
    public fun setLevel(level: LogLevel): Unit = native { dinh.ffi.setLogLevel(dinh.ffi.LogLevel.valueOf(level.name)) }
}

private class Sink(private val sink: (LogRecord) -> Unit) : dinh.ffi.LogSink {
    override fun log(record: dinh.ffi.LogRecord) {
        sink(LogRecord(LogLevel.valueOf(record.level.name), record.target, record.text))
    }
}

/** The version of the native library, as in its changelog. */
public val libraryVersion: String
    get() = native { dinh.ffi.libraryVersion() }

/** The version of the protocol that the native library speaks with relays and other devices: they must speak the same. */
public val protocolVersion: Int
    get() = native { dinh.ffi.protocolVersion() }.toInt()
