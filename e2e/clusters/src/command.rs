//! Running other programs so that a failure says which program, with what arguments, and what it complained about.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How much of what a failed program printed is worth repeating in the error.
const COMPLAINT_LIMIT: usize = 4000;

/// Runs the command and returns what it printed on standard output; anything but success is an error that carries
/// the end of what it printed on standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let result =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))?;
    if !result.status.success() {
        bail!("{} failed ({}): {}", shown(command), result.status, complaint(&result.stderr, &result.stdout));
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Like [`output`], with `input` on the program's standard input.
pub(crate) fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", shown(command)))?;
    // A program that ends before it has read everything says why on standard error: that is the error to report,
    // not the broken pipe. Dropping the pipe tells the program that the input is complete.
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(input);
    }
    let result = child.wait_with_output().with_context(|| format!("wait for {}", shown(command)))?;
    if !result.status.success() {
        bail!("{} failed ({}): {}", shown(command), result.status, complaint(&result.stderr, &result.stdout));
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Whether the command can be started and succeeds; what it prints is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The search path for programs, with the administrator's folders: a login as root may lack them, and the kubelet,
/// kube-proxy and the CNI plugins all call programs that live there.
pub(crate) fn search_path() -> OsString {
    let mut folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    for folder in ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"] {
        let folder = PathBuf::from(folder);
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    env::join_paths(folders).unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
}

/// Where a program is, if it is on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

fn complaint(stderr: &[u8], stdout: &[u8]) -> String {
    let said = if stderr.iter().all(u8::is_ascii_whitespace) { stdout } else { stderr };
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    let skipped = text.len().saturating_sub(COMPLAINT_LIMIT);
    let start = (skipped..text.len()).find(|&index| text.is_char_boundary(index)).unwrap_or(text.len());
    if text.is_empty() { "it printed nothing".to_owned() } else { text[start..].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_program_and_its_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`sh -c") && text.contains("exit status: 3") && text.contains("no such thing"),
            "{text}"
        );
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(output_with_input(&mut Command::new("cat"), b"abc").unwrap(), "abc");
    }

    #[test]
    fn a_missing_program_is_an_error_not_a_panic() {
        assert!(output(&mut Command::new("no-such-program-anywhere")).is_err());
        assert!(!succeeds(&mut Command::new("no-such-program-anywhere")));
    }
}
