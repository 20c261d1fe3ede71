//! The page of memory that the main process shares with a check of readiness: what the last
//! try said, whether the check is to end, and what it has started. Reading never waits.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use nix::sys::mman::{MmapAdvise, madvise};

use super::shared_page::SharedPage;

/// A word of the page; 0 if it was not written.
#[derive(Clone, Copy)]
enum Field {
    /// Main process: the check is to end.
    End,
    /// Check: the process group of the command that runs, which is the pid of the command.
    Group,
    /// Check: how many texts were written. The last one is in the first place if the number is
    /// odd, and otherwise in the second.
    Texts,
}

/// Where the two texts begin, and how long each can be. A null byte ends a shorter one.
const FIRST: usize = 64;
const LENGTH: usize = 512;

/// How often a text is read that is written meanwhile. The other place is written to first, so
/// that two have to be written for that.
const TRIES: u32 = 3;

/// A shared page.
#[derive(Debug)]
pub(crate) struct CheckPage(SharedPage);

impl CheckPage {
    /// Maps a page, for one check.
    ///
    /// # Errors
    /// ENOMEM; see mmap(2).
    pub(crate) fn new() -> nix::Result<Self> {
        SharedPage::new(FIRST + 2 * LENGTH).map(Self)
    }

    /// Keeps the page from processes that are forked from now on.
    pub(crate) fn hide_from_later_children(&self) {
        // SAFETY: the range is one mapping of ours, which stays as it is in this process.
        // If the call fails, another process could read it, which none does.
        let _ = unsafe { madvise(self.0.start(), self.0.len(), MmapAdvise::MADV_DONTFORK) };
    }

    fn word(&self, field: Field) -> &AtomicU64 {
        self.0.word(field as usize)
    }

    /// Main process: the check is to end.
    pub(crate) fn set_end(&self) {
        self.word(Field::End).store(1, Ordering::Release);
    }

    /// Whether it is.
    pub(crate) fn is_end(&self) -> bool {
        self.word(Field::End).load(Ordering::Acquire) != 0
    }

    /// Check: this command, which leads a process group, runs; or none.
    pub(crate) fn set_group(&self, group: Option<i32>) {
        let group = group.and_then(|group| u64::try_from(group).ok());
        self.word(Field::Group)
            .store(group.unwrap_or(0), Ordering::Release);
    }

    /// As [`Self::set_group`] has it.
    pub(crate) fn group(&self) -> Option<i32> {
        let group = self.word(Field::Group).load(Ordering::Acquire);
        i32::try_from(group).ok().filter(|group| *group > 0)
    }

    /// Check: what the last try said. A longer text is cut.
    pub(crate) fn set_text(&self, text: &str) {
        let count = self.word(Field::Texts).load(Ordering::Relaxed);
        let count = count.wrapping_add(1).max(1);
        let mut end = text.len().min(LENGTH);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = text.bytes().take(end).filter(|byte| *byte != 0);
        let bytes = bytes.chain(std::iter::repeat(0));
        for (to, byte) in self.place(count).iter().zip(bytes) {
            to.store(byte, Ordering::Relaxed);
        }
        self.word(Field::Texts).store(count, Ordering::Release);
    }

    /// As [`Self::set_text`] has it; `None` before the first try is over.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = None;
        for _ in 0..TRIES {
            let count = self.word(Field::Texts).load(Ordering::Acquire);
            if count == 0 {
                return None;
            }
            let bytes = self.place(count).iter();
            let bytes = bytes.map(|byte| byte.load(Ordering::Relaxed));
            let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
            text = Some(String::from_utf8_lossy(&bytes).into_owned());
            // The bytes are read before this.
            std::sync::atomic::fence(Ordering::Acquire);
            if self.word(Field::Texts).load(Ordering::Relaxed) == count {
                break;
            }
        }
        text
    }

    /// Where the text with this number is.
    fn place(&self, count: u64) -> &[AtomicU8] {
        let start = if count.is_multiple_of(2) {
            FIRST + LENGTH
        } else {
            FIRST
        };
        self.0.get(start..start + LENGTH).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;
    use crate::sys::wait::{self, Waited};

    #[test]
    fn the_last_text_is_read() {
        let page = CheckPage::new().unwrap();
        assert_eq!(page.text(), None);
        for (text, expected) in [
            ("connection refused", "connection refused"),
            ("short", "short"),
            ("", ""),
            ("a\0b", "ab"),
            (&"ü".repeat(300), &*"ü".repeat(256)),
            (&"x".repeat(511), &*"x".repeat(511)),
            (&("x".repeat(511) + "ü"), &*"x".repeat(511)),
            ("last", "last"),
        ] {
            page.set_text(text);
            assert_eq!(page.text().as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_fields_do_not_touch_each_other() {
        let page = CheckPage::new().unwrap();
        assert_eq!((page.is_end(), page.group()), (false, None));
        page.set_group(Some(4_194_304));
        page.set_text(&"x".repeat(LENGTH));
        assert_eq!((page.is_end(), page.group()), (false, Some(4_194_304)));
        page.set_group(None);
        page.set_end();
        assert_eq!((page.is_end(), page.group()), (true, None));
        assert_eq!(page.text(), Some("x".repeat(LENGTH)));
    }
    #[test]
    fn a_text_is_read_whole_while_the_next_is_written() {
        let page = CheckPage::new().unwrap();
        let own = process::own_pid();
        let writer = process::fork(|| {
            while !page.is_end() && nix::unistd::getppid().as_raw() == own {
                for letter in ["a", "b"] {
                    page.set_text(&letter.repeat(LENGTH));
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            0
        });
        let writer = writer.unwrap();
        while page.word(Field::Texts).load(Ordering::Relaxed) < 300 {
            if let Some(text) = page.text() {
                let first = text.chars().next().unwrap();
                assert_eq!(text, first.to_string().repeat(LENGTH));
            }
        }
        page.set_end();
        while matches!(wait::one(writer), Waited::NoChange) {
            std::thread::yield_now();
        }
    }
}
