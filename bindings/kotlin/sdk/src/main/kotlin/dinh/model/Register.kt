package dinh.model

import kotlinx.serialization.KSerializer
import kotlinx.serialization.Serializable
import kotlinx.serialization.builtins.ListSerializer
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder

/** Who wrote a value: a member, and with which of its devices. */
@Serializable
public data class Writer(public val member: String, public val device: String)

/** One of the values of a [Register]. */
@Serializable
public data class Written<T>(
    /** The value. */
    public val value: T,
    /** Whose it is; null if this device does not know the device that wrote it. */
    public val by: Writer?,
)

/**
 * A field that is replaced as a whole: [value] is what to show.
 *
 * If people wrote it without knowing of each other, because a phone was offline, several values stand in it until somebody who may
 * writes it once more. All devices show the same one of them.
 */
@Serializable(with = RegisterSerializer::class)
public data class Register<T>(
    /** Everything that stands there, what is shown first. Empty if nothing was written. */
    public val all: List<Written<T>>,
) {
    /** What is shown; null if nothing was written. */
    public val value: T?
        get() = all.firstOrNull()?.value

    /** Who wrote what is shown, if that is known here. */
    public val by: Writer?
        get() = all.firstOrNull()?.by

    /** Whether people wrote different things without knowing of each other: show [all], and let one who may write it decide. */
    public val isContested: Boolean
        get() = all.drop(1).any { it.value != value }
}

internal class RegisterSerializer<T>(value: KSerializer<T>) : KSerializer<Register<T>> {
    private val list: KSerializer<List<Written<T>>> = ListSerializer(Written.serializer(value))

    override val descriptor: SerialDescriptor = list.descriptor

    override fun deserialize(decoder: Decoder): Register<T> = Register(decoder.decodeSerializableValue(list))

    override fun serialize(encoder: Encoder, value: Register<T>): Unit = encoder.encodeSerializableValue(list, value.all)
}
