"""Takes every mail that arrives and writes down what it took: a line of JSON for each recipient.

    smtp_catcher.py [--whole] CAUGHT.jsonl

Listens on a free loopback port, which is the first line it prints, until its standard input ends. A line is on its way to
the disk before the sender hears that the mail was taken. With --whole the mail is parsed and its headers and bodies are
written too, which takes longer than everything else. Two recipients are special, whatever their domain: `gone@`
is refused with 550, `busy@` is put off once with 451.
"""

import asyncio
import json
import re
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP

MAIL_BYTES_MAX = 1 << 20
MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


class Catcher:
    def __init__(self, caught, whole):
        self.caught = caught
        self.whole = whole
        self.put_off = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.split("@")[0]
        if local == "gone":
            return "550 5.1.1 no such mailbox"
        if local == "busy" and address not in self.put_off:
            self.put_off.add(address)
            return "451 4.2.0 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        header, _, _ = envelope.content.partition(b"\r\n\r\n")
        found = MESSAGE_ID.search(header)
        seen = {"message_id": found.group(1).decode("ascii", "replace") if found else ""}
        if self.whole:
            seen |= parsed(envelope.content)
        for recipient in envelope.rcpt_tos:
            self.caught.write(json.dumps({"recipient": recipient, **seen}) + "\n")
        self.caught.flush()
        return "250 OK"


def parsed(content):
    mail = message_from_bytes(content, policy=policy.default)
    parts = [part for part in mail.walk() if not part.is_multipart()]
    return {
        "to": str(mail["To"] or ""),
        "subject": str(mail["Subject"] or ""),
        "list_unsubscribe": str(mail["List-Unsubscribe"] or ""),
        "parts": [f"{part.get_content_type()} {part.get_content()}".replace("\r\n", "\n") for part in parts],
    }


async def main(path, whole):
    with open(path, "a", encoding="utf-8") as caught:
        handler = Catcher(caught, whole)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(handler, hostname="catcher", enable_SMTPUTF8=True, data_size_limit=MAIL_BYTES_MAX),
            "127.0.0.1",
            0,
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1], "--whole" in sys.argv))
