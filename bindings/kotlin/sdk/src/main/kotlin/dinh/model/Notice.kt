package dinh.model

import dinh.Path
import kotlinx.serialization.Serializable

/** A notice of the committee as it is now. */
@Serializable
public data class Notice(
    /** Its title. */
    public val title: Register<String>,
    /** What it says. To be typed in where [textPath] says. */
    public val text: String,
    /** Until when it matters, `YYYY-MM-DD`. */
    public val until: Register<String>,
    /** When each reader first said that it has read it, by member: milliseconds since 1970. */
    public val read: Map<String, Register<Long>>,
) {
    /** Where its text is in the document: for `document.bindText(notice.textPath)`. */
    public val textPath: Path
        get() = Path("text")
}
