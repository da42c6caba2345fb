//! What a C compiler says of the structures and values of headers, held against those that are written down here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A C expression, and what it must come to.
pub type Expected = (String, i64);

pub fn number<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().ok().expect("a number that fits")
}

/// The size of what `field` lends.
pub fn size_of_field<T, F>(_field: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// The size of a structure, and offset and size of its fields.
macro_rules! structure {
    ($ours:ty = $theirs:literal { $($field:ident = $name:literal),* $(,)? }) => {{
        use $crate::c_compiler::{number, size_of_field};
        let mut expected = vec![(format!("sizeof({})", $theirs), number(std::mem::size_of::<$ours>()))];
        $(
            expected.push((format!("offsetof({}, {})", $theirs, $name), number(std::mem::offset_of!($ours, $field))));
            expected.push((
                format!("sizeof((({} *)0)->{})", $theirs, $name),
                number(size_of_field(|one: &$ours| &one.$field)),
            ));
        )*
        expected
    }};
}

/// Values of `#define`s and enumerations.
macro_rules! values {
    ($($name:literal = $ours:expr),* $(,)?) => {
        vec![$((String::from($name), $crate::c_compiler::number($ours))),*]
    };
}

/// Compares every expression with what a program says that is compiled against the headers.
pub fn compare(headers: &Path, includes: &str, expected: &[Expected]) {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
    let mut text = format!("#include <stdio.h>\n#include <stddef.h>\n{includes}\nint main(void) {{\n");
    for (expression, _) in expected {
        writeln!(text, "    printf(\"%lld\\n\", (long long)({expression}));").unwrap();
    }
    text.push_str("    return 0;\n}\n");
    fs::write(&source, text).unwrap();
    let output =
        Command::new("cc").arg("-I").arg(headers).arg("-o").args([&program, &source]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(&program).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<i64> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(said.len(), expected.len());
    let wrong: Vec<_> = expected
        .iter()
        .zip(&said)
        .filter(|((_, ours), theirs)| ours != *theirs)
        .map(|((expression, ours), theirs)| format!("{expression} is {theirs}, and here {ours}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("compared: {} sizes, offsets and values with {}", said.len(), headers.display());
}
