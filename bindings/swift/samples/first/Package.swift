// swift-tools-version: 6.0
import PackageDescription

// Where this repository is.
let dinh = Context.environment["DINH"] ?? "../../../.."

let package = Package(
    name: "first",
    platforms: [.macOS(.v12)],
    dependencies: [.package(name: "Dinh", path: "\(dinh)/bindings/swift")],
    targets: [.executableTarget(name: "first", dependencies: [.product(name: "Dinh", package: "Dinh")])]
)
