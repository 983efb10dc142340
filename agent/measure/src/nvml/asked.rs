//! Calls that may never come back, as calls about a GPU that hangs do: they are made on a thread of their own, and
//! waited for just so long.

use std::{
    io,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Instant,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    /// Still busy with an earlier question.
    Late,
}

/// A thread that answers one question at a time. It ends once this is dropped and the last question is answered.
pub(super) struct Asked<Q, A> {
    questions: Sender<Q>,
    answers: Receiver<A>,
    state: State,
}

impl<Q: Send + 'static, A: Send + 'static> Asked<Q, A> {
    pub(super) fn start(name: String, mut answer: impl FnMut(Q) -> A + Send + 'static) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel::<Q>();
        let (answering, answers) = mpsc::channel();
        thread::Builder::new().name(name).spawn(move || {
            for question in asked {
                if answering.send(answer(question)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { questions, answers, state: State::Idle })
    }

    /// Asks, unless an earlier question is still open. A late answer to that one is stale, and dropped.
    pub(super) fn ask(&mut self, question: Q) {
        let is_free = self.state == State::Idle || self.answers.try_recv().is_ok();
        self.state = match is_free && self.questions.send(question).is_ok() {
            true => State::Asked,
            false => State::Late,
        };
    }

    /// The answer to the question just asked, if it comes in time. One who was late already is not waited for.
    pub(super) fn answer(&mut self, until: Instant) -> Option<A> {
        if self.state != State::Asked {
            return None;
        }
        let answer = self.answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
        self.state = State::Idle;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_late_answer_is_not_taken_for_a_new_one() {
        let (release, held) = mpsc::channel::<()>();
        let mut asked = Asked::start("test".to_owned(), move |question: u32| {
            if question == 1 {
                held.recv().unwrap();
            }
            question
        })
        .unwrap();
        let soon = || Instant::now() + Duration::from_millis(1);
        let in_time = || Instant::now() + Duration::from_secs(30);
        asked.ask(1);
        assert_eq!(asked.answer(soon()), None);
        asked.ask(2);
        let before = Instant::now();
        assert_eq!(asked.answer(in_time()), None, "it still hangs");
        assert!(before.elapsed() < Duration::from_secs(10), "one that hangs must not be waited for twice");
        release.send(()).unwrap();
        let until = in_time();
        let answer = loop {
            asked.ask(3);
            if let Some(answer) = asked.answer(in_time()) {
                break answer;
            }
            assert!(Instant::now() < until, "no answer though nothing hangs any more");
        };
        assert_eq!(answer, 3);
    }
}
