//! The smallest program there is, so that what is measured is who runs it: exits
//! with 0; with an argument a tenth of a second later; with two of them it sleeps
//! until a signal ends it. No C library and no runtime; `perf/measure.py` hands it to
//! rustc.
#![no_std]
#![no_main]

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov rax, [rsp]", // argc
    "cmp rax, 2",
    "jb 3f",
    "ja 4f",
    "mov eax, 35", // nanosleep
    "lea rdi, [rip + later]",
    "xor esi, esi",
    "syscall",
    "3: mov eax, 231", // exit_group
    "xor edi, edi",
    "syscall",
    "4: mov eax, 34", // pause
    "syscall",
    "jmp 4b",
    "later: .quad 0, 100000000",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "ldr x0, [sp]", // argc
    "cmp x0, #2",
    "b.lo 3f",
    "b.hi 4f",
    "adr x0, later",
    "mov x1, #0",
    "mov x8, #101", // nanosleep
    "svc #0",
    "3: mov x0, #0",
    "mov x8, #94", // exit_group
    "svc #0",
    "4: mov x0, #0", // ppoll of nothing
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #0",
    "mov x8, #73",
    "svc #0",
    "b 4b",
    ".balign 8",
    "later: .quad 0, 100000000",
);

#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
