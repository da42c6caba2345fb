//! As much of HTTP as a scrape needs: one request, one answer, and the end.

use super::Metrics;

/// The longest head of a request that is read.
pub(super) const MOST_HEAD_BYTES: usize = 8 << 10;

/// The most header fields in it.
const MOST_FIELDS: usize = 64;

/// The answer to what came so far; none if more must come.
pub(super) fn answer(head: &[u8], metrics: &Metrics) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() < MOST_HEAD_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(plain("431 Request Header Fields Too Large", "The request is too long.\n"));
        }
        Err(_) => return Some(plain("400 Bad Request", "This is no HTTP request.\n")),
    }
    // Whatever is asked behind a question mark, the answer is the same.
    let path = request.path.unwrap_or_default().split('?').next();
    Some(match (request.method, path) {
        (Some("GET"), Some("/metrics")) => match metrics.text() {
            Ok(text) => response("200 OK", Metrics::CONTENT_TYPE, "", &text),
            Err(_) => plain("500 Internal Server Error", "The metrics cannot be written as text.\n"),
        },
        (_, Some("/metrics")) => {
            response("405 Method Not Allowed", TEXT, "Allow: GET\r\n", "Metrics can only be read: use GET.\n")
        }
        _ => plain("404 Not Found", "There is nothing here but /metrics.\n"),
    })
}

const TEXT: &str = "text/plain; charset=utf-8";

fn plain(status: &str, body: &str) -> Vec<u8> {
    response(status, TEXT, "", body)
}

fn response(status: &str, content_type: &str, more_fields: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{more_fields}\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
