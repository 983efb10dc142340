//! The system calls a renderer never needs and an attack often does, and more of them where no namespaces stand around.

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

/// What reaches other processes and files past Landlock, for a program that shares their namespaces and perhaps their
/// user. It leaves attributes of files alone, and what Landlock came to know late, truncation above all.
const REFUSED_WITHOUT_NAMESPACES: &[i64] = &[
    call(42, 203),  // connect
    call(43, 202),  // accept
    call(288, 242), // accept4
    call(46, 211),  // sendmsg
    call(307, 269), // sendmmsg
    call(200, 130), // tkill
    call(129, 138), // rt_sigqueueinfo
    call(297, 240), // rt_tgsigqueueinfo
    call(424, 424), // pidfd_send_signal
    call(434, 434), // pidfd_open
    call(112, 157), // setsid
    call(109, 154), // setpgid
    call(141, 140), // setpriority
    call(142, 118), // sched_setparam
    call(144, 119), // sched_setscheduler
    call(203, 122), // sched_setaffinity
    call(314, 274), // sched_setattr
    call(251, 30),  // ioprio_set
    call(29, 194),  // shmget
    call(30, 196),  // shmat
    call(31, 195),  // shmctl
    call(64, 190),  // semget
    call(65, 193),  // semop
    call(66, 191),  // semctl
    call(220, 192), // semtimedop
    call(68, 186),  // msgget
    call(69, 189),  // msgsnd
    call(70, 188),  // msgrcv
    call(71, 187),  // msgctl
    call(240, 180), // mq_open
    call(241, 181), // mq_unlink
    call(76, 45),   // truncate
    call(91, 52),   // fchmod
    call(268, 53),  // fchmodat
    call(452, 452), // fchmodat2
    call(93, 55),   // fchown
    call(260, 54),  // fchownat
    call(188, 5),   // setxattr
    call(189, 6),   // lsetxattr
    call(190, 7),   // fsetxattr
    call(463, 463), // setxattrat
    call(197, 14),  // removexattr
    call(198, 15),  // lremovexattr
    call(199, 16),  // fremovexattr
    call(466, 466), // removexattrat
    call(469, 469), // file_setattr
    call(280, 88),  // utimensat
    call(294, 26),  // inotify_init1
    call(254, 27),  // inotify_add_watch
];

/// `fork`, `vfork`, `chmod`, `chown`, `lchown`, `utime`, `utimes`, `futimesat`, `inotify_init`: no such calls elsewhere.
const REFUSED_WITHOUT_NAMESPACES_X86_64: &[i64] = &[57, 58, 90, 92, 94, 132, 235, 261, 253];

const SOCKET: i64 = call(41, 198);
const SENDTO: i64 = call(44, 206);
const CLONE: i64 = call(56, 220);
const CLONE3: i64 = call(435, 435);
const IOCTL: i64 = call(16, 29);
const FCNTL: i64 = call(72, 25);
const PRCTL: i64 = call(157, 167);
const PRLIMIT64: i64 = call(302, 261);
const KILL: i64 = call(62, 129);
const TGKILL: i64 = call(234, 131);
const OPENAT: i64 = call(257, 56);
const OPENAT2: i64 = call(437, 437);
const OPEN_X86_64: i64 = 2;

const AF_UNIX: u64 = 1;
/// `CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}`.
const NEW_NAMESPACES: [u64; 8] =
    [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// Typing into a terminal: `TIOCSTI`, `TIOCLINUX`.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541c];
const CLONE_THREAD: u64 = 0x1_0000;
/// Having signals sent to anybody when a file has news: `F_SETOWN`, `F_SETSIG`, `F_SETOWN_EX`; `FIOSETOWN`, `SIOCSPGRP`.
const FCNTL_SIGNALS: [u64; 3] = [8, 10, 15];
const IOCTL_SIGNALS: [u64; 2] = [0x8901, 0x8902];
const PR_SET_PDEATHSIG: u64 = 1;
const O_ACCMODE: u64 = 0o3;
const O_TRUNC: u64 = 0o1000;

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

/// Besides, where Landlock is all there is: no second process, no word and no signal to any other, and nothing done to
/// files that Landlock does not see. `own` is this process.
pub(super) fn refuse_without_namespaces(own: u32) -> anyhow::Result<()> {
    apply(refused_without_namespaces(u64::from(own))?, EPERM)?;
    // As above.
    apply(BTreeMap::from([(OPENAT2, vec![])]), ENOSYS)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: u32) -> anyhow::Result<()> {
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), ARCH)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program).context("cannot install the seccomp filter")
}

fn refused_calls() -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules = whole(REFUSED);
    rules.insert(SOCKET, vec![when(0, SeccompCmpOp::Ne, AF_UNIX)?]);
    let with_flag = |flag| when(0, SeccompCmpOp::MaskedEq(flag), flag);
    rules.insert(CLONE, NEW_NAMESPACES.into_iter().map(with_flag).collect::<Result<_, _>>()?);
    rules.insert(IOCTL, one_of(1, &TERMINAL_INPUT)?);
    if cfg!(target_arch = "x86_64") {
        rules.extend(whole(REFUSED_X86_64));
        also_as_x32(&mut rules);
        // Those x32 numbers on its own: ptrace, kexec_load and others, none of which is needed.
        rules.extend((512..=547).map(|number| (number | X32_BIT, vec![])));
    }
    Ok(rules)
}

fn refused_without_namespaces(own: u64) -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules = whole(REFUSED_WITHOUT_NAMESPACES);
    // A C library ends a process by signalling itself.
    rules.insert(KILL, vec![when(0, SeccompCmpOp::Ne, own)?]);
    rules.insert(TGKILL, vec![when(0, SeccompCmpOp::Ne, own)?]);
    let others = [condition(0, SeccompCmpOp::Ne, 0)?, condition(0, SeccompCmpOp::Ne, own)?];
    rules.insert(PRLIMIT64, vec![SeccompRule::new(others.into())?]);
    // An address is a pointer, of which either half may be zero.
    let addressed = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(SENDTO, vec![SeccompRule::new(vec![addressed])?]);
    rules.insert(CLONE, vec![when(0, SeccompCmpOp::MaskedEq(CLONE_THREAD), 0)?]);
    rules.insert(PRCTL, one_of(0, &[PR_SET_PDEATHSIG])?);
    rules.insert(FCNTL, one_of(1, &FCNTL_SIGNALS)?);
    rules.insert(IOCTL, one_of(1, &IOCTL_SIGNALS)?);
    rules.insert(OPENAT, truncating_without_writing(2)?);
    if cfg!(target_arch = "x86_64") {
        rules.extend(whole(REFUSED_WITHOUT_NAMESPACES_X86_64));
        rules.insert(OPEN_X86_64, truncating_without_writing(1)?);
        also_as_x32(&mut rules);
    }
    Ok(rules)
}

fn whole(calls: &[i64]) -> BTreeMap<i64, Vec<SeccompRule>> {
    calls.iter().map(|number| (*number, vec![])).collect()
}

fn also_as_x32(rules: &mut BTreeMap<i64, Vec<SeccompRule>>) {
    let x32: Vec<_> = rules.iter().map(|(number, rules)| (number | X32_BIT, rules.clone())).collect();
    rules.extend(x32);
}

/// Emptying a file by opening it in a way that older Landlocks do not take for writing. 3 is neither reading nor writing.
fn truncating_without_writing(flags: u8) -> anyhow::Result<Vec<SeccompRule>> {
    let mask = SeccompCmpOp::MaskedEq(O_ACCMODE | O_TRUNC);
    [0, 3].into_iter().map(|access| when(flags, mask.clone(), access | O_TRUNC)).collect()
}

fn one_of(argument: u8, values: &[u64]) -> anyhow::Result<Vec<SeccompRule>> {
    values.iter().map(|value| when(argument, SeccompCmpOp::Eq, *value)).collect()
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompRule> {
    Ok(SeccompRule::new(vec![condition(argument, operator, value)?])?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}
