//! The rules, one function each. They return at the first violation.

use std::collections::BTreeSet;

use bowline_mesh::{Locality, Network, Object, Spec};

use crate::{
    App, Subject, Violation,
    running::{Running, Said, Told},
};

/// Room for events where it does not matter.
const ROOM: usize = 64;

/// Rule 1: everything, in the first event, and as one.
pub async fn the_first_event_has_everything<S: Subject>() -> Result<(), Violation> {
    let mut source = S::new().await;
    source.put(&apps()).await;
    let mut running = Running::start(source, Vec::new(), ROOM)?;
    running
        .until("a first event", |told| !told.said.is_empty())
        .await?;
    let told = &running.told;
    let is_all = told.endpoints() == told.expected(&apps())?;
    told.must(is_all, "the first event does not have everything")?;
    told.must(
        told.said == [Said::Replace],
        "the first event is no Replace",
    )?;
    told.must(
        told.problems.is_empty(),
        "a source without errors has problems",
    )?;
    let sources = told.objects.values().map(|object| &object.source.place);
    let has_place = sources.into_iter().all(|place| !place.is_empty());
    told.must(has_place, "an object does not say where it is written")?;
    running.stop().await.map(drop)
}

/// Rule 2: a source that is there and has nothing.
pub async fn an_empty_source_is_an_empty_replace<S: Subject>() -> Result<(), Violation> {
    let mut running = Running::start(S::new().await, Vec::new(), ROOM)?;
    running
        .until("a first event", |told| !told.said.is_empty())
        .await?;
    let told = &running.told;
    told.must(
        told.said == [Said::Replace],
        "the first event is no Replace",
    )?;
    told.must(told.objects.is_empty(), "there is something in nothing")?;
    running.source.put(&apps()).await;
    running.until_apps(&apps()).await?;
    running.stop().await.map(drop)
}

/// Rule 3: one of several changes.
pub async fn a_change_is_told_alone<S: Subject>() -> Result<(), Violation> {
    let mut running = started::<S>().await?;
    let changed = apps_with_changed_stock();
    running.source.put(&changed).await;
    running.until_apps(&changed).await?;
    let stock: BTreeSet<_> = changed
        .iter()
        .filter(|app| app.name == "stock")
        .map(|app| running.told.hostname(app).map(|name| name.to_string()))
        .collect::<Result<_, _>>()?;
    let told = &running.told;
    let only_stock = |said: &Said| match said {
        Said::Replace => true,
        Said::Update { upserts, .. } => upserts.is_subset(&stock),
        Said::Failing => false,
    };
    told.must(
        told.said.iter().all(only_stock),
        "an event is about something that did not change",
    )?;
    let replaces = told.said.iter().filter(|said| **said == Said::Replace);
    told.must(replaces.count() == 1, "a change is told as a Replace")?;
    running.stop().await.map(drop)
}

/// Rule 3: one of several goes.
pub async fn a_removal_is_told_alone<S: Subject>() -> Result<(), Violation> {
    let mut running = started::<S>().await?;
    let fewer = without_cart();
    running.source.put(&fewer).await;
    running.until_apps(&fewer).await?;
    let told = &running.told;
    let no_upserts = |said: &Said| match said {
        Said::Replace => true,
        Said::Update { upserts, .. } => upserts.is_empty(),
        Said::Failing => false,
    };
    told.must(
        told.said.iter().all(no_upserts),
        "a removal changes something else",
    )?;
    let replaces = told.said.iter().filter(|said| **said == Said::Replace);
    told.must(replaces.count() == 1, "a removal is told as a Replace")?;
    running.source.put(&[]).await;
    running.until_apps(&[]).await?;
    running.stop().await.map(drop)
}

/// Rules 6, 7 and 8: what is wrong stays as it was and is said, the rest goes on, and what is mended is no problem any more.
pub async fn a_broken_entry_keeps_its_last_good_version<S: Subject>() -> Result<(), Violation> {
    let mut running = started::<S>().await?;
    running.source.put_with_one_broken(&apps(), "cart").await;
    running
        .until("a problem with the broken entry", Told::has_errors)
        .await?;
    running.until_apps(&apps()).await?;
    let changed = apps_with_changed_stock();
    running.source.put_with_one_broken(&changed, "cart").await;
    running.until_apps(&changed).await?;
    running
        .told
        .must(running.told.has_errors(), "a problem is told once only")?;
    running.source.put(&changed).await;
    running
        .until("no problem after mending", |told| told.problems.is_empty())
        .await?;
    running.until_apps(&changed).await?;
    running.stop().await.map(drop)
}

/// Rule 7: the last good version of what is wrong is there after a restart, and of what is not wrong the present one.
pub async fn a_broken_entry_survives_a_restart<S: Subject>() -> Result<(), Violation> {
    let running = started::<S>().await?;
    let (mut source, told) = running.stop().await?;
    let last_good: Vec<Object> = told.objects.into_values().collect();
    let changed = apps_with_changed_stock();
    source.put_with_one_broken(&changed, "cart").await;
    let mut running = Running::start(source, last_good, ROOM)?;
    running.until_apps(&changed).await?;
    let told = &running.told;
    told.must(told.said == [Said::Replace], "it took more than one event")?;
    told.must(told.has_errors(), "there is no problem")?;
    running.stop().await.map(drop)
}

/// Rule 9: garbage.
pub async fn a_broken_source_removes_nothing<S: Subject>() -> Result<(), Violation> {
    let mut running = started::<S>().await?;
    running.source.break_all().await;
    running
        .until("an error", |told| {
            told.failing.is_some() || told.has_errors()
        })
        .await?;
    running.until_apps(&apps()).await?;
    let changed = apps_with_changed_stock();
    running.source.put(&changed).await;
    running.until_apps(&changed).await?;
    running
        .until("no error after mending", |told| {
            told.failing.is_none() && told.problems.is_empty()
        })
        .await?;
    running.stop().await.map(drop)
}

/// Rules 2 and 9: somebody is writing.
pub async fn a_half_written_source_removes_nothing<S: Subject>() -> Result<(), Violation> {
    let mut running = started::<S>().await?;
    let changed = apps_with_changed_stock();
    running.source.put_in_pieces(&changed).await;
    running.until_apps(&changed).await?;
    let removes = |said: &Said| match said {
        Said::Update { removes, .. } => *removes > 0,
        Said::Replace | Said::Failing => false,
    };
    let told = &running.told;
    told.must(
        !told.said.iter().any(removes),
        "something was removed while the source was being written",
    )?;
    running.stop().await.map(drop)
}

/// Rules 1, 2 and 9: a source that goes and comes back.
pub async fn a_missing_source_is_failing_and_removes_nothing<S: Subject>() -> Result<(), Violation>
{
    let mut running = started::<S>().await?;
    running.source.take_away().await;
    running
        .until("that it is failing", |told| told.failing.is_some())
        .await?;
    running.until_apps(&apps()).await?;
    let changed = apps_with_changed_stock();
    running.source.put(&changed).await;
    running
        .until("that it is not failing any more", |told| {
            told.failing.is_none()
        })
        .await?;
    running.until_apps(&changed).await?;
    running
        .told
        .must(running.told.problems.is_empty(), "a problem is left over")?;
    let replaces = running
        .told
        .said
        .iter()
        .filter(|said| **said == Said::Replace);
    running.told.must(
        replaces.count() == 2,
        "after the source came back, not everything was told",
    )?;
    running.stop().await.map(drop)
}

/// Rule 2: unreachable is not empty.
pub async fn a_source_that_is_missing_at_the_start_is_not_empty<S: Subject>()
-> Result<(), Violation> {
    let mut source = S::new().await;
    source.take_away().await;
    let mut running = Running::start(source, Vec::new(), ROOM)?;
    running
        .until("a first event", |told| !told.said.is_empty())
        .await?;
    let told = &running.told;
    told.must(
        told.said == [Said::Failing],
        "a source that is not there is told as something else than Failing",
    )?;
    running.source.put(&apps()).await;
    running.until_apps(&apps()).await?;
    running.stop().await.map(drop)
}

/// Rule 5: nobody listens for a while.
pub async fn a_slow_listener_gets_the_newest_state<S: Subject>() -> Result<(), Violation> {
    let mut source = S::new().await;
    source.put(&apps()).await;
    let mut running = Running::start(source, Vec::new(), 1)?;
    for last in 1..=50 {
        running
            .source
            .put(&[App::new("busy", [10, 0, 1, last])])
            .await;
    }
    let newest = [App::new("busy", [10, 0, 1, 51])];
    running.source.put(&newest).await;
    running.until_apps(&newest).await?;
    running.stop().await.map(drop)
}

/// Rule 11.
pub async fn settings_fill_in_what_is_not_written<S: Subject>() -> Result<(), Violation> {
    let running = started::<S>().await?;
    let told = &running.told;
    let namespaced = |object: &Object| {
        let namespace = object.key().namespace.as_str();
        namespace == "fallback" || namespace == "shop"
    };
    told.must(
        told.objects.values().all(namespaced),
        "an object is in a namespace that nobody has named",
    )?;
    let (network, locality): (&Network, &Locality) =
        (&told.settings().network, &told.settings().locality);
    let mut endpoints = told
        .objects
        .values()
        .filter_map(|object| match object.spec() {
            Spec::Endpoints(group) => Some(&group.endpoints),
            _ => None,
        })
        .flatten();
    told.must(
        endpoints.all(|endpoint| {
            endpoint.network == *network && endpoint.locality.without_node() == *locality
        }),
        "network or locality are not those of the settings",
    )?;
    running.stop().await.map(drop)
}

/// Rule 13: with nothing to do, and with an event that nobody takes.
pub async fn it_ends_when_told_to<S: Subject>() -> Result<(), Violation> {
    let running = started::<S>().await?;
    let (mut source, _) = running.stop().await?;
    source.put(&apps()).await;
    let mut running = Running::start(source, Vec::new(), 1)?;
    for last in 1..=5 {
        running
            .source
            .put(&[App::new("busy", [10, 0, 1, last])])
            .await;
    }
    running.stop().await.map(drop)
}

/// Three applications, one of which names its namespace.
fn apps() -> Vec<App> {
    vec![
        App::new("cart", [10, 0, 0, 1]),
        App::new("stock", [10, 0, 0, 2]),
        App {
            namespace: Some("shop".to_owned()),
            ..App::new("front", [10, 0, 0, 3])
        },
    ]
}

fn apps_with_changed_stock() -> Vec<App> {
    let mut apps = apps();
    for app in &mut apps {
        if app.name == "stock" {
            app.address = [10, 0, 9, 9].into();
        }
    }
    apps
}

fn without_cart() -> Vec<App> {
    let mut apps = apps();
    apps.retain(|app| app.name != "cart");
    apps
}

/// An adapter that has told everything about [`apps`].
async fn started<S: Subject>() -> Result<Running<S>, Violation> {
    let mut source = S::new().await;
    source.put(&apps()).await;
    let mut running = Running::start(source, Vec::new(), ROOM)?;
    running.until_apps(&apps()).await?;
    Ok(running)
}
