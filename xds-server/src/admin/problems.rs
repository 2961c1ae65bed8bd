//! Everything that is wrong: with objects, and with the running server itself.

use bowline_mesh::{Code, Problem, Severity};
use bowline_state::WriteStatus;

use super::Api;
use crate::config::ConfigurationStatus;
use crate::pipeline::PipelineEnded;

pub(super) async fn list(api: &Api) -> Result<Vec<Problem>, PipelineEnded> {
    let mut problems = api.pipeline.problems().await?;
    problems.extend(of_configuration(&api.configuration.borrow()));
    let writes = api.state.borrow().clone();
    problems.extend(of_writes(&writes));
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
