import Dinh
import Foundation

let folder = FileManager.default.temporaryDirectory.appendingPathComponent("first-\(UUID().uuidString)")
try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
let secrets = try Secrets.generate()  // An app draws them once, and keeps them in the keychain.
let client = try await Client.open(
    store: folder.appendingPathComponent("store.dinh"), marker: folder.appendingPathComponent("marker"), secrets: secrets)

// A branch with this device as its secretary's, and a space in it that every device of the branch reads.
let branch = try await client.foundBranch(member: newMemberID(), deviceName: "An's phone").branch
let space = try await branch.createSpace()

// A document. Each edit is one change, on disk when the call returns, with or without a network.
let document = try await branch.createDocument(in: space)
try await document.edit { edit in
    try edit.put(["title"], "Kế hoạch làm đường")
    try edit.text(["text"], "Chào các đồng chí")
    try edit.put(["items"], ["cát", "đá"])
}
try await document.edit { edit in
    try edit.splice(["text"], at: 5, insert: "tất cả ")
}

let text = try await document.get(["text"])
let second = try await document.get(["items", 1])
print(text?.stringValue ?? "nothing")
print(second?.stringValue ?? "nothing")
try await client.shutdown()
