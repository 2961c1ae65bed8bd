//! The index of a blocking query.

use std::num::NonZeroU64;

/// Until where the answers of one query are known. Never zero: Consul would answer such a query at once, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Index(Option<NonZeroU64>);

/// What an answer's index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something may have changed.
    Forward,
    /// Nothing did.
    Same,
    /// The server's past is another one than it was: a snapshot was restored, or other servers answer. What is asked next is asked from
    /// the beginning.
    Backward,
    /// It has no index, so nothing can be waited for.
    Missing,
}

impl Index {
    /// What to ask with; `None` asks for what there is now.
    pub(crate) fn get(self) -> Option<u64> {
        self.0.map(NonZeroU64::get)
    }

    /// Forgets it.
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }

    /// Takes in an answer's index.
    pub(crate) fn step(&mut self, answered: Option<u64>) -> Step {
        let Some(answered) = answered else {
            self.0 = None;
            return Step::Missing;
        };
        let answered = NonZeroU64::new(answered).unwrap_or(NonZeroU64::MIN);
        let step = match self.0 {
            None => Step::Forward,
            Some(last) if answered < last => {
                self.0 = None;
                return Step::Backward;
            }
            Some(last) if answered == last => Step::Same,
            Some(_) => Step::Forward,
        };
        self.0 = Some(answered);
        step
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_goes_forward_starts_anew_when_it_went_back_and_is_never_zero() {
        let answers = [
            (Some(0), Step::Forward, Some(1)),
            (Some(0), Step::Same, Some(1)),
            (Some(7), Step::Forward, Some(7)),
            (Some(7), Step::Same, Some(7)),
            (Some(3), Step::Backward, None),
            (Some(3), Step::Forward, Some(3)),
            (None, Step::Missing, None),
            (Some(9), Step::Forward, Some(9)),
        ];
        let mut index = Index::default();
        for (place, (answered, step, next)) in answers.into_iter().enumerate() {
            assert_eq!(
                (index.step(answered), index.get()),
                (step, next),
                "answer {place}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_answered_the_next_question_is_one_that_the_server_answered_or_the_first(
            answers in prop::collection::vec(prop::option::of(0_u64..5), 0..20)
        ) {
            let mut index = Index::default();
            for answer in answers {
                let before = index.get();
                let step = index.step(answer);
                prop_assert_ne!(index.get(), Some(0));
                match step {
                    Step::Forward => prop_assert!(before < index.get()),
                    Step::Same => prop_assert_eq!(before, index.get()),
                    Step::Backward | Step::Missing => prop_assert_eq!(index.get(), None),
                }
            }
        }
    }
}
