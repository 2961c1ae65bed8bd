//! Everything that is wrong: with objects, and with the running server itself.

use bowline_mesh::{Code, Problem, Severity};
use bowline_state::WriteStatus;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Api;
use crate::config::ConfigurationStatus;
use crate::pipeline::PipelineEnded;
use crate::tls::TlsStatus;

pub(super) async fn list(api: &Api) -> Result<Vec<Problem>, PipelineEnded> {
    let mut problems = api.pipeline.problems().await?;
    problems.extend(of_configuration(&api.configuration.borrow()));
    let writes = api.state.borrow().clone();
    problems.extend(of_writes(&writes));
    if let Some(status) = &api.tls_status {
        let status = status.borrow().clone();
        problems.extend(of_certificate(&status));
    }
    if let Some(file) = &api.state_file
        && !file.is_in_place().await
    {
        let message = format!(
            "{} is not the file that the server has open",
            file.path().display()
        );
        problems.push(state_not_kept(
            &message,
            "put the directory back where it was, before the server is restarted",
        ));
    }
    problems.sort();
    Ok(problems)
}

fn of_configuration(status: &ConfigurationStatus) -> Vec<Problem> {
    let ConfigurationStatus {
        error,
        needs_restart,
    } = status;
    let wrong = error.as_ref().map(|error| Problem {
        code: Code::WrongConfiguration,
        severity: Severity::Error,
        object: None,
        source: None,
        field: "".into(),
        message: error.replace('\n', "; ").into(),
        meanwhile: "the server goes on with the configuration that it has, and would not start with this one".into(),
        hint: "correct the file".into(),
    });
    let waiting = needs_restart.iter().map(|field| Problem {
        code: Code::NeedsRestart,
        severity: Severity::Warning,
        object: None,
        source: None,
        field: (*field).into(),
        message: "was changed in the configuration".into(),
        meanwhile: "the server goes on with the value that it was started with".into(),
        hint: "restart the server when it suits, or take the change back".into(),
    });
    wrong.into_iter().chain(waiting).collect()
}

fn of_certificate(status: &TlsStatus) -> Option<Problem> {
    let TlsStatus {
        loaded_at: _,
        not_after,
        problem,
    } = status;
    let reason = problem.as_ref()?;
    let until = OffsetDateTime::from(*not_after)
        .format(&Rfc3339)
        .unwrap_or_default();
    Some(Problem {
        code: Code::StaleCertificate,
        severity: Severity::Error,
        object: None,
        source: None,
        field: "xds.tls".into(),
        message: format!("there is no newer certificate to take over: {reason}").into(),
        meanwhile: format!(
            "the one before is used, until {until}; after that no proxy can connect again"
        )
        .into(),
        hint: "mend the files: the certificate must fit the key, and all must be readable".into(),
    })
}

fn of_writes(status: &WriteStatus) -> Option<Problem> {
    let failing = status.failing.as_ref()?;
    let message = format!("the state cannot be written: {}", failing.error);
    Some(state_not_kept(
        &message,
        "make room on the disk of the state directory, and let the server's user write there",
    ))
}

fn state_not_kept(message: &str, hint: &str) -> Problem {
    Problem {
        code: Code::StateNotKept,
        severity: Severity::Error,
        object: None,
        source: None,
        field: "".into(),
        message: message.into(),
        meanwhile: "all is served as before, but a restart would lose what was not kept: the authority's root with all certificates, or the last good objects".into(),
        hint: hint.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_certificate_that_cannot_be_replaced_is_told_with_its_end() {
        let mut status = TlsStatus {
            loaded_at: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            problem: None,
        };
        assert_eq!(of_certificate(&status), None);
        status.problem = Some("key.pem: it does not fit".to_owned());
        let problem = of_certificate(&status).unwrap().to_string();
        assert!(problem.contains("key.pem: it does not fit"), "{problem}");
        assert!(problem.contains("until 1970-01-01T00:00:00Z"), "{problem}");
    }
}
