//! What Landlock is asked to refuse.

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, Scope};

/// As much of Landlock as the kernel has. Within mounts of our own they hold without it; else its first version has to be
/// there, and the filter makes up for the later ones.
pub(super) fn handle(ruleset: Ruleset, abi: ABI) -> Result<Ruleset, RulesetError> {
    let mut ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset)
}
