// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "swift-minutes",
    platforms: [.macOS(.v12)],
    // An app names the released package instead: .package(url: "https://…/dinh-swift", from: "0.1.0").
    dependencies: [.package(name: "Dinh", path: "../../bindings/swift")],
    targets: [
        .executableTarget(name: "swift-minutes", dependencies: [.product(name: "Dinh", package: "Dinh")])
    ],
    swiftLanguageModes: [.v6]
)
