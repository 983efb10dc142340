//! A mail server of ours that speaks enough of the protocol, and notes what it takes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    /// User and password, as they were given.
    pub(crate) login: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) text: String,
}

#[derive(Clone)]
pub(crate) struct Smtp {
    pub(crate) address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
}

impl Smtp {
    pub(crate) async fn start() -> Smtp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let smtp = Smtp { address: listener.local_addr().unwrap(), letters: Arc::default() };
        let server = smtp.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, server.clone()));
            }
        });
        smtp
    }

    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }
}

/// Refuses letters to `nobody@…`.
async fn converse(stream: TcpStream, smtp: Smtp) {
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    let mut letter = Letter::default();
    to.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let answer = match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-mail.example\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "AUTH" => {
                let said = STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap();
                letter.login = String::from_utf8(said).unwrap().replace('\0', " ").trim().to_owned();
                "235 welcome\r\n"
            }
            "MAIL" => {
                letter.from = address();
                "250 ok\r\n"
            }
            "RCPT" if address().starts_with("nobody@") => "550 5.1.1 no such user at 10.0.0.9\r\n",
            "RCPT" => {
                letter.to = address();
                "250 ok\r\n"
            }
            "DATA" => {
                to.write_all(b"354 go on\r\n").await.unwrap();
                while let Some(line) = lines.next_line().await.unwrap().filter(|line| line != ".") {
                    letter.text.push_str(&line);
                    letter.text.push('\n');
                }
                smtp.letters.lock().unwrap().push(letter.clone());
                "250 taken\r\n"
            }
            "QUIT" => {
                let _ = to.write_all(b"221 bye\r\n").await;
                return;
            }
            _ => "250 ok\r\n",
        };
        if to.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
