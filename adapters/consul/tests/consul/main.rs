//! The adapter with an agent that the test controls: the registry contract, and what is Consul's own.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod real;
#[cfg(test)]
mod running;
#[cfg(test)]
mod services;

mod http {
    bowline_conformance::tests!(crate::contract::Http);
}

mod https {
    bowline_conformance::tests!(crate::contract::Https);
}

mod by_checks {
    bowline_conformance::tests!(crate::contract::ByChecks);
}
