package dinh

import java.io.File
import kotlin.metadata.KmClass
import kotlin.metadata.KmClassifier
import kotlin.metadata.KmConstructor
import kotlin.metadata.KmFunction
import kotlin.metadata.KmProperty
import kotlin.metadata.KmType
import kotlin.metadata.KmTypeParameter
import kotlin.metadata.Visibility
import kotlin.metadata.jvm.KotlinClassMetadata
import kotlin.metadata.visibility
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The generated code may change, and other code may take its place: no public signature of the SDK names a type of it. */
class PublicTypesTest {
    private val shown = setOf(Visibility.PUBLIC, Visibility.PROTECTED)
    private val found = mutableListOf<String>()
    private var members = 0

    private fun metadata(type: Class<*>): KotlinClassMetadata? =
        type.getAnnotation(Metadata::class.java)?.let { KotlinClassMetadata.readStrict(it) }

    private fun isShown(type: Class<*>): Boolean {
        val metadata = metadata(type) as? KotlinClassMetadata.Class ?: return false
        return metadata.kmClass.visibility in shown && type.enclosingClass?.let { isShown(it) } != false
    }

    private fun look(where: String, type: KmType?) {
        val name = (type?.classifier as? KmClassifier.Class)?.name.orEmpty()
        if (name.startsWith("dinh/ffi/") || name.startsWith("com/sun/")) found += "$where: $name"
        type?.arguments?.forEach { look(where, it.type) }
        look(where, type?.abbreviatedType ?: return)
    }

    private fun look(where: String, parameters: List<KmTypeParameter>) {
        parameters.flatMap { it.upperBounds }.forEach { look(where, it) }
    }

    private fun look(where: String, function: KmFunction) {
        if (function.visibility !in shown) return
        members++
        val at = "$where.${function.name}"
        look(at, function.typeParameters)
        look(at, function.receiverParameterType)
        look(at, function.returnType)
        function.valueParameters.forEach { look(at, it.type) }
    }

    private fun look(where: String, property: KmProperty) {
        if (property.visibility !in shown) return
        members++
        val at = "$where.${property.name}"
        look(at, property.typeParameters)
        look(at, property.receiverParameterType)
        look(at, property.returnType)
    }

    private fun look(where: String, constructor: KmConstructor) {
        if (constructor.visibility !in shown) return
        members++
        constructor.valueParameters.forEach { look(where, it.type) }
    }

    private fun look(type: KmClass) {
        members++
        look(type.name, type.typeParameters)
        type.supertypes.forEach { look(type.name, it) }
        type.constructors.forEach { look(type.name, it) }
        type.functions.forEach { look(type.name, it) }
        type.properties.forEach { look(type.name, it) }
    }

    @Test
    fun noPublicSignatureNamesAGeneratedType() {
        val root = File(Client::class.java.protectionDomain.codeSource.location.toURI())
        assertTrue(root.isDirectory, "$root holds the compiled SDK")
        val names = root.walk().filter { it.extension == "class" }.map { it.relativeTo(root).path.removeSuffix(".class") }
        for (name in names) {
            val type = Class.forName(name.replace(File.separatorChar, '.'), false, javaClass.classLoader)
            when (val metadata = metadata(type)) {
                is KotlinClassMetadata.Class -> if (isShown(type)) look(metadata.kmClass)
                is KotlinClassMetadata.FileFacade -> {
                    metadata.kmPackage.functions.forEach { look(name, it) }
                    metadata.kmPackage.properties.forEach { look(name, it) }
                }
                else -> {}
            }
        }
        assertEquals(listOf<String>(), found)
        assertTrue(members > 300, "only $members public classes and members were found")
        println("kotlin: $members public classes and members name no generated type")
    }
}
