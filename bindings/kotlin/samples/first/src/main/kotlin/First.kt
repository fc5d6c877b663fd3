package first

import dinh.Client
import dinh.Path
import dinh.Secrets
import dinh.foundBranch
import dinh.newMemberId
import dinh.string
import kotlin.io.path.createTempDirectory
import kotlinx.coroutines.runBlocking

fun main(): Unit = runBlocking {
    val folder = createTempDirectory("first")
    val secrets = Secrets.generate() // An app draws them once, and keeps them in the platform's keystore.
    val client = Client.open("$folder/store.dinh", "$folder/marker", secrets)

    // A branch with this device as its secretary's, and a space in it that every device of the branch reads.
    val branch = client.foundBranch(newMemberId(), "An's phone").branch
    val space = branch.createSpace()

    // A document. Each edit is one change, on disk when the call returns, with or without a network.
    val document = branch.createDocument(space)
    document.edit {
        put(Path("title"), "Kế hoạch làm đường")
        text(Path("text"), "Chào các đồng chí")
        put(Path("items"), listOf("cát", "đá"))
    }
    document.edit { splice(Path("text"), index = 5, delete = 0, insert = "tất cả ") }

    println(document.get(Path("text")).string)
    println(document.get(Path("items", 1)).string)
    client.shutdown()
}
