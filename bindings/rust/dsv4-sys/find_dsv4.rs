//! Tells cargo where libdsv4 is: in the folder that `DSV4_LIB_DIR` names, or where pkg-config says.

use std::env;
use std::path::Path;
use std::process::{exit, Command};

fn main() {
    println!("cargo:rerun-if-env-changed=DSV4_LIB_DIR");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rerun-if-changed=find_dsv4.rs");
    let found = match env::var("DSV4_LIB_DIR") {
        Ok(folder) => from_folder(&folder),
        Err(_) => from_pkg_config(),
    };
    if let Err(why) = found {
        eprintln!("libdsv4 was not found: {why}");
        eprintln!("Set DSV4_LIB_DIR to the folder of libdsv4, or PKG_CONFIG_PATH to that of dsv4.pc.");
        exit(1);
    }
}

fn from_folder(folder: &str) -> Result<(), String> {
    if !Path::new(folder).is_dir() {
        return Err(format!("DSV4_LIB_DIR is {folder}, which is not a folder"));
    }
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=dylib=dsv4");
    Ok(())
}

fn from_pkg_config() -> Result<(), String> {
    let output = Command::new(env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into()))
        .args(["--libs", "dsv4"])
        .output()
        .map_err(|e| format!("DSV4_LIB_DIR is not set, and pkg-config cannot be run ({e})"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("DSV4_LIB_DIR is not set, and pkg-config says: {}", said.trim()));
    }
    for flag in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(name) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib=dylib={name}");
        }
    }
    Ok(())
}
