//! Holds every declaration of this crate to the header, by the C compiler: a C program is written from the
//! declarations, whose prototypes and field types have to be compatible with those of `dsv4.h`, and which prints sizes,
//! offsets and constants as C sees them. Needs `cc` (or what `CC` names), and the header in `DSV4_INCLUDE_DIR` or in
//! this repository.

use dsv4_sys::{all_structs, Layout, Signature, ALL_CALLBACKS, ALL_CONSTANTS, ALL_FUNCTIONS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

fn include_dir() -> PathBuf {
    match env::var("DSV4_INCLUDE_DIR") {
        Ok(folder) => folder.into(),
        Err(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../include"),
    }
}

/// A type as it is written in Rust, in C.
fn c_type(rust: &str) -> String {
    let rust = rust.replace(' ', "");
    let pointer = |rest: &str, qualifier| format!("{}{qualifier} *", c_type(rest));
    if let Some(rest) = rust.strip_prefix("*const") {
        return pointer(rest, " const");
    }
    if let Some(rest) = rust.strip_prefix("*mut") {
        return pointer(rest, "");
    }
    if let Some(rest) = rust.strip_prefix("Option<") {
        return rest.trim_end_matches('>').to_string();
    }
    let name = match rust.as_str() {
        "i32" => "int32_t",
        "u32" => "uint32_t",
        "i64" => "int64_t",
        "u64" => "uint64_t",
        "usize" => "size_t",
        "f32" => "float",
        "f64" => "double",
        "c_char" => "char",
        "c_void" | "()" => "void",
        other => other,
    };
    name.to_string()
}

fn c_arguments(signature: &Signature) -> String {
    match signature.arguments {
        [] => "void".to_string(),
        list => list.iter().map(|a| c_type(a)).collect::<Vec<_>>().join(", "),
    }
}

fn c_name(field: &str) -> &str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Declares all callbacks and functions again: the compiler refuses what conflicts with the header.
fn c_declarations(callbacks: &[Signature], functions: &[Signature]) -> String {
    let mut c = String::from("#include <dsv4.h>\n#include <stdalign.h>\n#include <stdio.h>\n");
    for f in callbacks {
        c += &format!("typedef {} (*{})({});\n", c_type(f.result), f.name, c_arguments(f));
    }
    for f in functions {
        c += &format!("{} {}({});\n", c_type(f.result), f.name, c_arguments(f));
    }
    c
}

fn c_main(structs: &[Layout]) -> String {
    let mut c = String::from("int main(void) {\n");
    for s in structs {
        let name = s.name;
        c += &format!("  printf(\"{name} %zu %zu\\n\", sizeof({name}), alignof({name}));\n");
        for f in &s.fields {
            let (field, kind) = (c_name(f.name), c_type(f.kind));
            c += &format!(
                "  _Static_assert(_Generic((({name} *)0)->{field}, {kind}: 1, default: 0), \"{name}.{field}\");\n"
            );
            c += &format!(
                "  printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));\n"
            );
        }
    }
    for (name, _) in ALL_CONSTANTS {
        c += &format!("  printf(\"{name} %lld\\n\", (long long){name});\n");
    }
    c + "  return 0;\n}\n"
}

/// What Rust says to the same questions.
fn rust_answers(structs: &[Layout]) -> String {
    let mut text = String::new();
    for s in structs {
        text += &format!("{} {} {}\n", s.name, s.size, s.align);
        for f in &s.fields {
            text += &format!("{}.{} {} {}\n", s.name, c_name(f.name), f.offset, f.size);
        }
    }
    for (name, value) in ALL_CONSTANTS {
        text += &format!("{name} {value}\n");
    }
    text
}

fn compile(name: &str, source: &str) -> (Output, PathBuf) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (c, program) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&c, source).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let output = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg("-I")
        .arg(include_dir())
        .arg(&c)
        .output()
        .expect("a C compiler: cc, or what CC names");
    (output, program)
}

#[test]
fn layouts_types_and_constants_are_those_of_c() {
    let structs = all_structs();
    let source = c_declarations(ALL_CALLBACKS, ALL_FUNCTIONS) + &c_main(&structs);
    let (output, program) = compile("layout_against_c", &source);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), rust_answers(&structs));
}

#[test]
fn a_wrong_declaration_is_found() {
    let wrong = [Signature { name: "dsv4_version", arguments: &[], result: "u64" }];
    let (output, _) = compile("wrong_declaration", &(c_declarations(&[], &wrong) + &c_main(&[])));
    assert!(!output.status.success());
}

/// The header without its comments.
fn header() -> String {
    let text = fs::read_to_string(include_dir().join("dsv4.h")).expect("dsv4.h");
    let mut code = String::new();
    let mut rest = text.as_str();
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").expect("the end of a comment").1;
    }
    code + rest
}

/// All names of the header that `wanted` takes.
fn names(wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let header = header();
    let words = header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| wanted(w)).map(str::to_string).collect()
}

#[test]
fn nothing_of_the_header_is_missing() {
    let structs: Vec<&str> = all_structs().iter().map(|s| s.name).collect();
    let functions: BTreeSet<&str> = ALL_FUNCTIONS.iter().map(|f| f.name).collect();
    let callbacks: Vec<&str> = ALL_CALLBACKS.iter().map(|f| f.name).collect();
    let handles = ["dsv4_error", "dsv4_model", "dsv4_conversation", "dsv4_session", "dsv4_parser", "dsv4_status"];
    let known =
        |w: &str| functions.contains(w) || structs.contains(&w) || callbacks.contains(&w) || handles.contains(&w);
    let missing: Vec<String> = names(|w| w.starts_with("dsv4_")).into_iter().filter(|w| !known(w)).collect();
    assert!(missing.is_empty(), "not declared: {missing:?}");

    // What is no constant: macros of the header itself, and initialisers, for which there are functions.
    let macros = ["DSV4_H", "DSV4_API", "DSV4_BUILD", "DSV4_STATIC"];
    let constants: BTreeSet<&str> = ALL_CONSTANTS.iter().map(|c| c.0).collect();
    let expected = names(|w| w.starts_with("DSV4_") && !w.ends_with("_INIT") && !macros.contains(&w));
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(constants, expected);
}

#[test]
fn the_library_is_the_one_that_these_declarations_are_of() {
    let version = unsafe { dsv4_sys::dsv4_version() };
    assert_eq!(version / 1000, dsv4_sys::DSV4_VERSION_MAJOR * 1000 + dsv4_sys::DSV4_VERSION_MINOR);
}
