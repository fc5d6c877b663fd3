package dinh

/** Something that a search found. */
public data class Hit(
    /** The document. */
    public val doc: String,
    /** The field. */
    public val field: Path,
    /** The text of the field, in NFC. */
    public val text: String,
    /** The words found in it. */
    public val highlights: List<TextRange>,
    /** The first of them with words around it. */
    public val snippet: TextRange,
    /** Whether it is written as it was asked for, with all its marks. */
    public val isExact: Boolean,
)

/**
 * Searches all documents that this device may read, without regard to case and marks; what is written as it was asked for comes
 * first. Works offline. The first search reads them all; later ones what changed.
 *
 * @param max how many hits at most.
 */
public suspend fun Client.search(query: String, max: Int = 50): List<Hit> =
    native { ffi.search(query, count(max)) }.map { hit ->
        Hit(
            doc = hit.doc,
            field = Path(*hit.field.toTypedArray()),
            text = hit.text,
            highlights = hit.highlights.map { it.toPublic() },
            snippet = hit.snippet.toPublic(),
            isExact = hit.isExact,
        )
    }
