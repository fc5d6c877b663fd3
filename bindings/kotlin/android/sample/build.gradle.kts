// How an Android app takes Dinh: a module for a Gradle build whose settings have google() and mavenCentral(), and
// maven { url = uri("…/target/android/repository") } for what assemble-aar.sh made. Not built by this project's CI.
plugins {
    id("com.android.application") version "9.2.0"
}

android {
    namespace = "dinh.sample"
    compileSdk = 36
    defaultConfig {
        minSdk = 24
        targetSdk = 36
    }
    buildTypes {
        release {
            // No rules of the app's own: Dinh's come with it.
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
        }
    }
}

dependencies {
    // JNA's jar has no library for Android, and beside its AAR every class would be there twice. Whatever asks for the jar gets this
    // exclusion; a Kotlin module without Android that uses dinh:dinh needs it too, and one of dinh:dinh and dinh:dinh-ffi.
    implementation("dinh:dinh-android:0.1.0") {
        exclude(group = "net.java.dev.jna", module = "jna")
    }
    implementation("net.java.dev.jna:jna:5.18.1@aar")
    // Dispatchers.Main.
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
}
