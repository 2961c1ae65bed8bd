//! The names of endpoint objects: unique within a partition and namespace, and readable backwards, because the objects of before a
//! restart say by their names alone what they were.

use std::fmt::Write as _;

/// What an endpoint object is about. A service's id is unique on its node only, and is kept when an instance moves from one service
/// to another; so all four are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceName {
    /// The service's name, in lower case.
    pub(crate) service: String,
    /// Which part of the registry has it.
    pub(crate) scope: String,
    /// The machine.
    pub(crate) node: String,
    /// The id of the instance on its machine.
    pub(crate) id: String,
}

impl InstanceName {
    /// As an object's name.
    pub(crate) fn to_text(&self) -> String {
        let Self {
            service,
            scope,
            node,
            id,
        } = self;
        let mut text =
            String::with_capacity(service.len() + scope.len() + node.len() + id.len() + 3);
        for (place, part) in [service, scope, node, id].into_iter().enumerate() {
            if place > 0 {
                text.push('/');
            }
            for character in part.chars() {
                match character {
                    '/' | '%' => {
                        // Writing to a string cannot fail.
                        let _ = write!(text, "%{:02x}", u32::from(character));
                    }
                    other => text.push(other),
                }
            }
        }
        text
    }

    /// From an object's name; `None` where it is not one of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text
            .split('/')
            .map(|part| part.replace("%2f", "/").replace("%25", "%"));
        let name = Self {
            service: parts.next()?,
            scope: parts.next()?,
            node: parts.next()?,
            id: parts.next()?,
        };
        parts.next().is_none().then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_parts(parts in prop::array::uniform4("[a-z/%.2f5]{0,6}|\\PC{0,4}")) {
            let [service, scope, node, id] = parts;
            let name = InstanceName { service, scope, node, id };
            prop_assert_eq!(InstanceName::parse(&name.to_text()), Some(name));
        }
    }
}
