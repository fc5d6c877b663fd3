package dinh.model

import dinh.DinhException
import kotlinx.serialization.KSerializer
import kotlinx.serialization.json.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.assertThrows

/** Ids as the native library writes them: members and devices in 32 hex digits, changes in 64. */
internal const val LAN: String = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
internal const val MINH: String = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"
internal const val PHONE: String = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0"
internal const val DOC: String = "2s8iuVmXd1DPQHbMyBGkUuBUFcRG"

/** A register with one value, of a device that is known here. */
internal fun one(value: String): String = """[{"value":$value,"by":{"member":"$LAN","device":"$PHONE"}}]"""

/** A register with one value, of a device that is not known here. */
internal fun anonymous(value: String): String = """[{"value":$value,"by":null}]"""

/** A life that stands in a state, with one event that counts. */
internal fun life(state: String): String =
    """{"status":{"in":$state},"counted":["e1"],"not_counted":{},"waiting":[],"heads":["e1"]}"""

/** What the JSON is. It must survive a way out and back. */
internal fun <T> read(serializer: KSerializer<T>, json: String): T {
    val found = decode(serializer, json)
    assertEquals(found, decode(serializer, Json.encodeToString(serializer, found)))
    return found
}

/** That JSON does not read, and that nothing of it is told. */
internal fun <T> refuse(serializer: KSerializer<T>, json: String) {
    val why = assertThrows<DinhException.Internal> { decode(serializer, json) }
    assertEquals(1, why.message.orEmpty().lines().size)
    assertNull(why.cause)
}
