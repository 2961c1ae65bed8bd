//! The registry contract, as tests that every adapter runs.
//!
//! README.md has the rules in words and says how an adapter runs the tests. Reading order: [`Subject`], what an adapter provides;
//! [`FileFormat`], what is enough of an adapter that reads files; `running`, an adapter at work and what the mesh knows from it; `rules`, one function for each rule.

mod files;
mod rules;
mod running;
mod subject;

pub use files::{Directory, FileFormat, OneFile};
pub use rules::{
    a_broken_entry_keeps_its_last_good_version, a_broken_entry_survives_a_restart,
    a_broken_source_removes_nothing, a_change_is_told_alone, a_half_written_source_removes_nothing,
    a_missing_source_is_failing_and_removes_nothing, a_removal_is_told_alone,
    a_slow_listener_gets_the_newest_state, a_source_that_is_missing_at_the_start_is_not_empty,
    an_empty_source_is_an_empty_replace, it_ends_when_told_to,
    settings_fill_in_what_is_not_written, the_first_event_has_everything,
};
pub use running::Violation;
pub use subject::{App, Subject, settings};

/// The tests of the contract, for a [`Subject`]. Call it once in an integration test.
#[macro_export]
macro_rules! tests {
    ($subject:ty) => {
        $crate::tests!($subject:
            the_first_event_has_everything
            an_empty_source_is_an_empty_replace
            a_change_is_told_alone
            a_removal_is_told_alone
            a_broken_entry_keeps_its_last_good_version
            a_broken_entry_survives_a_restart
            a_broken_source_removes_nothing
            a_half_written_source_removes_nothing
            a_missing_source_is_failing_and_removes_nothing
            a_source_that_is_missing_at_the_start_is_not_empty
            a_slow_listener_gets_the_newest_state
            settings_fill_in_what_is_not_written
            it_ends_when_told_to
        );
    };
    ($subject:ty: $($rule:ident)*) => {$(
        #[tokio::test]
        async fn $rule() {
            if let Err(violation) = $crate::$rule::<$subject>().await {
                panic!("{violation}");
            }
        }
    )*};
}
