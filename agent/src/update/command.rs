//! `pictor-agent update`, and the check that a new version makes of itself before it is tried.

use std::process::ExitCode;

use anyhow::{Context, bail};
use semver::Version;

use super::{
    Settings,
    manifest::TARGET,
    place::{Keeper, Place},
    releases::{Offer, Releases, SelfCheck},
    state::Stage,
    store::Store,
};
use crate::{program::VERSION, registry::Registry};

/// Says what there is, and makes a newer version ready unless only asked for that.
pub async fn update(settings: Settings, registry: Registry, only_check: bool) -> anyhow::Result<ExitCode> {
    let releases = Releases {
        registry,
        key: settings.key,
        current: Version::parse(VERSION).context("this program's own version cannot be read")?,
        store: Store::at(&settings.data),
        place: Place::find().context("cannot tell where this program lies")?,
        config: settings.config_file,
    };
    let (offer, published_at) = releases.look().await?;
    let nothing = match &offer {
        Offer::Nothing => Some("The registry publishes no releases.".to_owned()),
        Offer::NotNewer(offered) => Some(format!("The registry offers {offered}: there is nothing newer.")),
        Offer::Newer { .. } => None,
    };
    if let Some(nothing) = nothing {
        println!("This is version {VERSION}. {nothing}");
        if only_check {
            println!("{}", who_updates(releases.place.keeper(), settings.is_enabled));
        }
    }
    let Offer::Newer { version, notes, program } = offer else { return Ok(ExitCode::SUCCESS) };
    println!("This is version {VERSION}. Version {version} is available.");
    if !notes.is_empty() {
        println!("{}", notes.trim_end());
    }
    let program = match (releases.place.keeper(), program) {
        (other @ Keeper::Other(_), _) => Err(who_updates(other, settings.is_enabled)),
        (Keeper::Itself, Err(why)) => Err(format!("It cannot be taken: {why}.")),
        (Keeper::Itself, Ok(program)) => Ok(program),
    };
    match program {
        Err(why) if only_check => println!("{why}"),
        Err(why) => bail!(why),
        Ok(_) if only_check => {
            let means = if settings.is_enabled { "by itself, or now with" } else { "with" };
            println!("The agent takes it {means}: pictor-agent update");
        }
        Ok((file, release)) => {
            releases.store.is_ours()?;
            releases.store.prepare()?;
            if matches!(releases.store.read().stage, Stage::Trial { .. }) {
                bail!("a new version is on trial already: try again in a minute");
            }
            let Some(turn) = releases.store.try_turn()? else {
                bail!("the agent makes an update ready already: watch its log");
            };
            releases.remember(&turn, published_at)?;
            releases.prepare(&turn, &file, release, true).await?;
            println!(
                "It is verified and lies ready. A running agent tries it as soon as no task runs, otherwise the next \
                 start of the agent does; this version comes back if it does not work."
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn who_updates(keeper: Keeper, is_enabled: bool) -> String {
    match keeper {
        Keeper::Other(why) => format!("This program does not replace itself: {why}."),
        Keeper::Itself if is_enabled => "The agent takes newer versions by itself.".to_owned(),
        Keeper::Itself => "The agent takes newer versions when told to: pictor-agent update".to_owned(),
    }
}

/// For the version before this one, which wants to know whether this program can be tried here.
pub fn self_check() -> anyhow::Result<ExitCode> {
    let said = SelfCheck { version: VERSION.to_owned(), target: TARGET.to_owned() };
    println!("{}", serde_json::to_string(&said)?);
    Ok(ExitCode::SUCCESS)
}
