//! Finds out from the first bytes of a file how the kernel would execute it (`execve(2)`,
//! elf(5)), to explain why it does not. Pure.

/// The number of bytes that are read. Compilers and linkers put the program headers and the
/// name of the loader within them.
pub(crate) const SAMPLE: usize = 4096;

/// The kinds of files that `execve(2)` distinguishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It begins with `#!` and the name of this interpreter.
    Script { interpreter: Vec<u8> },
    /// A program or library in ELF format.
    Elf {
        machine: u16,
        loader: Option<Vec<u8>>,
    },
    /// Text without `#!`, by tradition a shell script.
    Text,
    /// Anything else.
    Binary,
}

impl Kind {
    /// Returns the kind of a file by its first [`SAMPLE`] bytes.
    pub(crate) fn of(sample: &[u8]) -> Self {
        if let Some(rest) = sample.strip_prefix(b"#!") {
            let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
            let line = line.trim_ascii_start();
            // For the kernel a blank or a tab terminates the name, but no other white space:
            // a carriage return is part of it.
            let name = line
                .split(|b| [b' ', b'\t', 0].contains(b))
                .next()
                .unwrap_or_default();
            return Self::Script {
                interpreter: name.to_vec(),
            };
        }
        if sample.starts_with(b"\x7fELF") {
            return Self::elf(sample).unwrap_or(Self::Binary);
        }
        let first_line = sample.split(|b| *b == b'\n').next().unwrap_or_default();
        if first_line.contains(&0) {
            Self::Binary
        } else {
            Self::Text
        }
    }

    /// Reads an ELF header, of either width and byte order.
    fn elf(sample: &[u8]) -> Option<Self> {
        /// `PT_INTERP` of elf(5).
        const LOADER: u64 = 3;
        let wide = *sample.get(4)? == 2;
        let little = *sample.get(5)? == 1;
        let field = |at: usize, width: usize| -> Option<u64> {
            let bytes = sample.get(at..at.checked_add(width)?)?;
            let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            Some(if little {
                bytes.iter().rev().fold(0, fold)
            } else {
                bytes.iter().fold(0, fold)
            })
        };
        // e_phoff, e_phentsize, e_phnum; p_offset and p_filesz of a header.
        let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        let (offset_at, length_at, word) = if wide { (8, 32, 8) } else { (4, 16, 4) };
        let machine = u16::try_from(field(18, 2)?).ok()?;
        let loader = || -> Option<Vec<u8>> {
            let table = usize::try_from(field(table, word)?).ok()?;
            let size = usize::try_from(field(size, 2)?).ok()?;
            let count = usize::try_from(field(count, 2)?).ok()?;
            for index in 0..count {
                let header = table.checked_add(index.checked_mul(size)?)?;
                if field(header, 4)? == LOADER {
                    let start =
                        usize::try_from(field(header.checked_add(offset_at)?, word)?).ok()?;
                    let length =
                        usize::try_from(field(header.checked_add(length_at)?, word)?).ok()?;
                    let name = sample.get(start..start.checked_add(length)?)?;
                    return Some(name.split(|b| *b == 0).next()?.to_vec());
                }
            }
            None
        };
        Some(Self::Elf {
            machine,
            loader: loader(),
        })
    }
}

/// Returns the name of a machine by its number in an ELF header (`e_machine`, elf(5)).
pub(crate) fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC 64",
        22 => "S/390",
        40 => "ARM",
        62 => "x86_64",
        183 => "aarch64",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return format!("machine type {other}"),
    };
    name.to_owned()
}

/// The number of the machine that this program is built for.
pub(crate) const OWN_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else if cfg!(target_arch = "loongarch64") {
    258
} else if cfg!(target_arch = "powerpc64") {
    21
} else {
    0
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn script(interpreter: &[u8]) -> Kind {
        Kind::Script {
            interpreter: interpreter.to_vec(),
        }
    }

    #[test]
    fn the_interpreter_of_a_script_is_read_as_the_kernel_reads_it() {
        assert_eq!(Kind::of(b"#!/bin/sh\necho"), script(b"/bin/sh"));
        assert_eq!(
            Kind::of(b"#! /usr/bin/env python3\n"),
            script(b"/usr/bin/env")
        );
        assert_eq!(Kind::of(b"#!/bin/sh\r\necho\r\n"), script(b"/bin/sh\r"));
        assert_eq!(Kind::of(b"#!/bin/sh"), script(b"/bin/sh"));
        assert_eq!(Kind::of(b"#!"), script(b""));
    }

    #[test]
    fn text_and_binary_files_differ_in_the_first_line() {
        assert_eq!(Kind::of(b"echo hello\n\0\0"), Kind::Text);
        assert_eq!(Kind::of(b""), Kind::Text);
        assert_eq!(Kind::of(b"MZ\x90\0\x03\n"), Kind::Binary);
        assert_eq!(Kind::of(b"\x7fELF"), Kind::Binary);
    }

    #[test]
    fn this_program_is_an_elf_file_of_this_machine() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let Kind::Elf { machine, .. } = Kind::of(&program[..SAMPLE]) else {
            panic!("not recognized");
        };
        assert_eq!(machine, OWN_MACHINE);
        assert!(!machine_name(machine).starts_with("machine type"));
    }

    #[test]
    fn the_loader_of_a_32_bit_big_endian_file_is_found() {
        let mut file = vec![0; 200];
        file[..6].copy_from_slice(b"\x7fELF\x01\x02");
        file[19] = 8;
        file[31] = 52; // e_phoff
        file[43] = 32; // e_phentsize
        file[45] = 2; // e_phnum
        file[52 + 32 + 3] = 3; // second header: PT_INTERP
        file[52 + 32 + 7] = 150; // p_offset
        file[52 + 32 + 19] = 10; // p_filesz
        file[150..160].copy_from_slice(b"/lib/ld.1\0");
        let expected = Kind::Elf {
            machine: 8,
            loader: Some(b"/lib/ld.1".to_vec()),
        };
        assert_eq!(Kind::of(&file), expected);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(sample in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Kind::of(&sample);
        }

        #[test]
        fn an_arbitrary_elf_header_does_not_panic(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sample: Vec<u8> = b"\x7fELF".iter().copied().chain(rest).collect();
            let _ = Kind::of(&sample);
        }
    }
}
