//! The system calls a renderer never needs and an attack often does.

use std::collections::BTreeMap;

use anyhow::Context;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// A call by its number on (x86_64, aarch64), from the kernel's `unistd.h`: these never change.
const fn call(x86_64: i64, aarch64: i64) -> i64 {
    if cfg!(target_arch = "x86_64") { x86_64 } else { aarch64 }
}

const REFUSED: &[i64] = &[
    call(101, 117), // ptrace
    call(310, 270), // process_vm_readv
    call(311, 271), // process_vm_writev
    call(312, 272), // kcmp
    call(438, 438), // pidfd_getfd
    call(165, 40),  // mount
    call(166, 39),  // umount2
    call(155, 41),  // pivot_root
    call(161, 51),  // chroot
    call(428, 428), // open_tree
    call(429, 429), // move_mount
    call(430, 430), // fsopen
    call(431, 431), // fsconfig
    call(432, 432), // fsmount
    call(433, 433), // fspick
    call(442, 442), // mount_setattr
    call(308, 268), // setns
    call(272, 97),  // unshare
    call(250, 219), // keyctl
    call(248, 217), // add_key
    call(249, 218), // request_key
    call(321, 280), // bpf
    call(298, 241), // perf_event_open
    call(323, 282), // userfaultfd
    call(425, 425), // io_uring_setup
    call(426, 426), // io_uring_enter
    call(427, 427), // io_uring_register
    call(246, 104), // kexec_load
    call(320, 294), // kexec_file_load
    call(175, 105), // init_module
    call(313, 273), // finit_module
    call(176, 106), // delete_module
    call(169, 142), // reboot
    call(167, 224), // swapon
    call(168, 225), // swapoff
    call(163, 89),  // acct
    call(179, 60),  // quotactl
    call(443, 443), // quotactl_fd
    call(103, 116), // syslog
    call(164, 170), // settimeofday
    call(227, 112), // clock_settime
    call(159, 171), // adjtimex
    call(305, 266), // clock_adjtime
    call(170, 161), // sethostname
    call(171, 162), // setdomainname
    call(303, 264), // name_to_handle_at
    call(304, 265), // open_by_handle_at
    call(300, 262), // fanotify_init
    call(153, 58),  // vhangup
];

/// `iopl`, `ioperm`, `modify_ldt`: no such calls elsewhere.
const REFUSED_X86_64: &[i64] = &[172, 173, 154];

const SOCKET: i64 = call(41, 198);
const CLONE: i64 = call(56, 220);
const CLONE3: i64 = call(435, 435);
const IOCTL: i64 = call(16, 29);

const AF_UNIX: u64 = 1;
/// `CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}`.
const NEW_NAMESPACES: [u64; 8] =
    [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// Typing into a terminal: `TIOCSTI`, `TIOCLINUX`.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541c];

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Calls of the x32 ABI pass as the same architecture, with this bit set.
const X32_BIT: i64 = 0x4000_0000;

/// Installs the filters on this thread, for good.
pub(super) fn refuse() -> anyhow::Result<()> {
    apply(refused_calls()?, EPERM)?;
    // Its flags lie in memory, where a filter cannot look; the C library then falls back to clone.
    apply(BTreeMap::from([(CLONE3, vec![])]), ENOSYS)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: u32) -> anyhow::Result<()> {
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), ARCH)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program).context("cannot install the seccomp filter")
}

fn refused_calls() -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|number| (*number, vec![])).collect();
    rules.insert(SOCKET, vec![when(0, SeccompCmpOp::Ne, AF_UNIX)?]);
    let with_flag = |flag| when(0, SeccompCmpOp::MaskedEq(flag), flag);
    rules.insert(CLONE, NEW_NAMESPACES.into_iter().map(with_flag).collect::<Result<_, _>>()?);
    let request = |request| when(1, SeccompCmpOp::Eq, request);
    rules.insert(IOCTL, TERMINAL_INPUT.into_iter().map(request).collect::<Result<_, _>>()?);
    if cfg!(target_arch = "x86_64") {
        rules.extend(REFUSED_X86_64.iter().map(|number| (*number, vec![])));
        let x32: Vec<_> = rules.iter().map(|(number, rules)| (number | X32_BIT, rules.clone())).collect();
        rules.extend(x32);
        // Those x32 numbers on its own: ptrace, kexec_load and others, none of which is needed.
        rules.extend((512..=547).map(|number| (number | X32_BIT, vec![])));
    }
    Ok(rules)
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}
