//! Redis' protocol, as far as a harness needs it to talk to one single node: a client that follows redirections would hide that
//! node's answers.

use anyhow::{Context, Result, bail};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(6);

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Text(String),
    List(Vec<Reply>),
    Nothing,
}

impl Reply {
    pub fn text(self) -> String {
        match self {
            Reply::Text(text) => text,
            Reply::List(_) | Reply::Nothing => String::new(),
        }
    }

    /// The texts of a list.
    pub fn texts(self) -> Vec<String> {
        match self {
            Reply::List(items) => items.into_iter().map(Reply::text).collect(),
            Reply::Text(_) | Reply::Nothing => vec![],
        }
    }
}

/// One command on its own connection; an error reply is an error.
pub async fn ask(address: SocketAddr, parts: &[&str]) -> Result<Reply> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut request = format!("*{}\r\n", parts.len());
        for part in parts {
            request += &format!("${}\r\n{part}\r\n", part.len());
        }
        stream.write_all(request.as_bytes()).await?;
        read(&mut BufReader::new(stream)).await
    };
    tokio::time::timeout(ANSWER_DEADLINE, talk)
        .await
        .context("no answer")?
}

async fn read(stream: &mut BufReader<TcpStream>) -> Result<Reply> {
    // Unfinished lists, with the number of missing items.
    let mut open: Vec<(Vec<Reply>, usize)> = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            bail!("closed");
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        let mut item = match kind {
            "+" | ":" => Reply::Text(rest.to_owned()),
            "-" => bail!("{rest}"),
            "$" => match rest.parse::<i64>()? {
                -1 => Reply::Nothing,
                length => {
                    let mut bytes = vec![0; usize::try_from(length)? + 2];
                    stream.read_exact(&mut bytes).await?;
                    bytes.truncate(bytes.len() - 2);
                    Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
                }
            },
            "*" => match rest.parse::<i64>()? {
                count @ 1.. => {
                    open.push((Vec::new(), usize::try_from(count)?));
                    continue;
                }
                0 => Reply::List(vec![]),
                _ => Reply::Nothing,
            },
            _ => bail!("not Redis' protocol: {line}"),
        };
        loop {
            let Some((items, count)) = open.last_mut() else {
                return Ok(item);
            };
            items.push(item);
            if items.len() < *count {
                break;
            }
            item = Reply::List(open.pop().map(|(items, _)| items).unwrap_or_default());
        }
    }
}
