"""What comes back of a reply, as mail systems write it: reports of delivery, bounces for people, automatic answers.

Rules of this file: `{to}` is the bounce address, `{original}` the mail that is returned; the forms are those of the
systems named, the words are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gateway.reports import Fate
from scheduler.clock import utc_now

INVITATION = f"""\
BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VEVENT
UID:inside@a.example
DTSTAMP:20260301T080000Z
DTSTART:{utc_now() + timedelta(days=1):%Y%m%dT%H%M%SZ}
ORGANIZER:mailto:boss@acme.example
ATTENDEE:mailto:anna@invite.example.com
LOCATION:https://meet.google.com/abc-defg-hij
END:VEVENT
END:VCALENDAR
"""
ORIGINAL = """\
From: Anna <anna@invite.example.com>
To: boss@acme.example
Subject: Accepted: Weekly
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: text/plain

550 5.7.1 stands in the mail that came back, and is nobody's diagnosis.
"""


@dataclass(frozen=True)
class Returned:
    """A mail that comes back, and what is to be understood of it."""

    text: str
    fate: Fate
    status: str
    words: str

    def mail(self, to: str) -> bytes:
        """The mail as bytes with CRLF, to a bounce address."""
        text = self.text.replace("{to}", to).replace("{original}", ORIGINAL).replace("{invitation}", INVITATION)
        return text.encode().replace(b"\n", b"\r\n")


POSTFIX = Returned(
    """\
Return-Path: <>
Date: Mon,  2 Mar 2026 09:00:00 +0000 (UTC)
From: MAILER-DAEMON@mx.acme.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4D1C2A.1772442000/mx.acme.example"
Content-Transfer-Encoding: 8bit
Message-Id: <20260302090000.7F3A1@mx.acme.example>

This is a MIME-encapsulated message.

--4D1C2A.1772442000/mx.acme.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.acme.example.

Your message could not be delivered to one or more recipients.

<boss@acme.example>: host store.acme.example[192.0.2.9] said: 550 5.1.1
    <boss@acme.example>: Recipient address rejected (in reply to RCPT TO command)

--4D1C2A.1772442000/mx.acme.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.acme.example
X-Postfix-Queue-ID: 4D1C2A
X-Postfix-Sender: rfc822; {to}
Arrival-Date: Mon,  2 Mar 2026 08:59:58 +0000 (UTC)

Final-Recipient: rfc822; boss@acme.example
Original-Recipient: rfc822;boss@acme.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; store.acme.example
Diagnostic-Code: smtp; 550 5.1.1 <boss@acme.example>: Recipient address
    rejected

--4D1C2A.1772442000/mx.acme.example
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

{original}
--4D1C2A.1772442000/mx.acme.example--
""",
    Fate.FAILED,
    "5.1.1",
    "550 5.1.1 <boss@acme.example>: Recipient address rejected",
)

# As Postfix 3.7 writes it; the mail was refused after DATA.
POSTFIX_TODAY = Returned(
    """\
Received: by mx.example.com (Postfix)
\tid C383A20EA83; Mon,  2 Mar 2026 09:00:00 +0000 (UTC)
Date: Mon,  2 Mar 2026 09:00:00 +0000 (UTC)
From: Mail Delivery System <MAILER-DAEMON@mx.example.com>
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="B345220EC18.1772442000/mx.example.com"
Content-Transfer-Encoding: 8bit
Message-Id: <20260302090000.C383A20EA83@mx.example.com>

This is a MIME-encapsulated message.

--B345220EC18.1772442000/mx.example.com
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mx.example.com.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to postmaster.

                   The mail system

<boss@acme.example>: host mx.acme.example[192.0.2.9] said: 550 5.7.1 No replies
    from robots here (in reply to end of DATA command)

--B345220EC18.1772442000/mx.example.com
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
X-Postfix-Queue-ID: B345220EC18
X-Postfix-Sender: rfc822; {to}
Arrival-Date: Mon,  2 Mar 2026 09:00:00 +0000 (UTC)

Final-Recipient: rfc822; boss@acme.example
Original-Recipient: rfc822;boss@acme.example
Action: failed
Status: 5.7.1
Remote-MTA: dns; mx.acme.example
Diagnostic-Code: smtp; 550 5.7.1 No replies from robots here

--B345220EC18.1772442000/mx.example.com
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Return-Path: <{to}>
Received: from localhost (unknown [127.0.0.1])
\tby mx.example.com (Postfix) with ESMTP id B345220EC18
\tfor <boss@acme.example>; Mon,  2 Mar 2026 09:00:00 +0000 (UTC)
{original}
--B345220EC18.1772442000/mx.example.com--
""",
    Fate.FAILED,
    "5.7.1",
    "550 5.7.1 No replies from robots here",
)

EXCHANGE = Returned(
    """\
From: <postmaster@acme.example>
To: <{to}>
Date: Mon, 2 Mar 2026 09:00:00 +0000
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="c2b9e1aa-2f5d-4c0e-9a5e-6f8d1a"
Content-Language: en-US
Message-ID: <c0ffee@AM0PR01MB0001.eurprd01.prod.exchangelabs.example>
In-Reply-To: <r0@invite.example.com>
Subject: Undeliverable: Accepted: Weekly
Auto-Submitted: auto-replied
MIME-Version: 1.0

--c2b9e1aa-2f5d-4c0e-9a5e-6f8d1a
Content-Type: multipart/alternative; differences=Content-Type;
\tboundary="inner-1"

--inner-1
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

[https://products.office.example/logo.png]
Your message to boss@acme.example couldn't be delivered.
boss wasn't found at acme.example.

--inner-1
Content-Type: text/html; charset="us-ascii"

<html><body><p>Your message couldn't be delivered.</p></body></html>
--inner-1--

--c2b9e1aa-2f5d-4c0e-9a5e-6f8d1a
Content-Type: message/delivery-status

Reporting-MTA: dns;AM0PR01MB0001.eurprd01.prod.exchangelabs.example
Received-From-MTA: dns;relay.invite.example.com
Arrival-Date: Mon, 2 Mar 2026 08:59:59 +0000

Final-Recipient: rfc822;boss@acme.example
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound;
 Recipient boss@acme.example not found by SMTP address lookup

--c2b9e1aa-2f5d-4c0e-9a5e-6f8d1a
Content-Type: message/rfc822

{original}
--c2b9e1aa-2f5d-4c0e-9a5e-6f8d1a--
""",
    Fate.FAILED,
    "5.1.10",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient boss@acme.example not found by SMTP address lookup",
)

# A server on the way has thrown the part for programs away.
EXCHANGE_BARE = Returned(
    """\
From: "Microsoft Outlook" <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@acme.example>
To: {to}
Subject: Undeliverable: Accepted: Weekly
X-Auto-Response-Suppress: All
X-MS-Exchange-Message-Is-Ndr:
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/html; charset="utf-8"
Message-ID: <ndr-1@acme.example>

<html><head><style>p {{ color: #333 }}</style></head><body>
<p>Your message to <b>boss@acme.example</b> couldn't be delivered.</p>
<div>Remote Server returned '550 5.2.2 mailbox full'</div>
</body></html>
""",
    Fate.FAILED,
    "5.2.2",
    "Remote Server returned '550 5.2.2 mailbox full'",
)

EXCHANGE_OLD = Returned(
    """\
From: <>
To: {to}
Subject: Delivery Status Notification (Failure)
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="9B095B5ADSN=_01"
Message-ID: <old@exchange.acme.example>

--9B095B5ADSN=_01
Content-Type: text/plain; charset=unicode-1-1-utf-7

This is an automatically generated Delivery Status Notification.

Delivery to the following recipients failed.

       boss@acme.example

--9B095B5ADSN=_01
Content-Type: message/delivery-status

Reporting-MTA: dns;exchange.acme.example

Final-Recipient: rfc822;boss@acme.example
Action: failed
Status: 5.7.1
X-Supplementary-Info: <exchange.acme.example #5.7.1 smtp;550 5.7.1 RESOLVER.RST.AuthRequired; authentication required>

--9B095B5ADSN=_01--
""",
    Fate.FAILED,
    "5.7.1",
    "<exchange.acme.example #5.7.1 smtp;550 5.7.1 RESOLVER.RST.AuthRequired; authentication required>",
)

GMAIL = Returned(
    """\
Content-Type: multipart/report; boundary="000000000000aa"; report-type=delivery-status
To: {to}
Auto-Submitted: auto-replied
References: <r0@invite.example.com>
In-Reply-To: <r0@invite.example.com>
X-Failed-Recipients: boss@acme.example
Message-ID: <65e2f1.050a0220.1@mx.google.com>
Date: Mon, 02 Mar 2026 01:00:00 -0800 (PST)
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
Subject: Delivery Status Notification (Failure)

--000000000000aa
Content-Type: multipart/related; boundary="000000000000ab"

--000000000000ab
Content-Type: multipart/alternative; boundary="000000000000ac"

--000000000000ac
Content-Type: text/plain; charset="UTF-8"

** Address not found **

Your message wasn't delivered to boss@acme.example because the address couldn't be found.

--000000000000ac--
--000000000000ab--

--000000000000aa
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Arrival-Date: Mon, 02 Mar 2026 00:59:59 -0800 (PST)
X-Original-Message-ID: <r0@invite.example.com>

Final-Recipient: rfc822; boss@acme.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos.
Last-Attempt-Date: Mon, 02 Mar 2026 01:00:00 -0800 (PST)

--000000000000aa
Content-Type: message/rfc822

{original}
--000000000000aa--
""",
    Fate.FAILED,
    "5.1.1",
    "550-5.1.1 The email account that you tried to reach does not exist. Please try "
    "550-5.1.1 double-checking the recipient's email address for typos.",
)

GMAIL_LATE = Returned(
    """\
Content-Type: multipart/report; boundary="00000000000001"; report-type=delivery-status
To: {to}
Auto-Submitted: auto-replied
Message-ID: <65e2f2.050a0220.2@mx.google.com>
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
Subject: Delivery Status Notification (Delay)

--00000000000001
Content-Type: text/plain; charset="UTF-8"

** Delivery incomplete **

There was a temporary problem while delivering your message. Gmail will retry for 45 more hours.

--00000000000001
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com

Final-Recipient: rfc822; boss@acme.example
Action: delayed
Status: 4.4.1
Diagnostic-Code: smtp; The recipient server did not accept our requests to connect.
Will-Retry-Until: Wed, 04 Mar 2026 00:00:00 -0800 (PST)

--00000000000001--
""",
    Fate.DELAYED,
    "4.4.1",
    "The recipient server did not accept our requests to connect.",
)

QMAIL = Returned(
    """\
Date: 2 Mar 2026 09:00:00 -0000
From: MAILER-DAEMON@qmail.acme.example
To: {to}
Subject: failure notice

Hi. This is the qmail-send program at qmail.acme.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<boss@acme.example>:
Sorry, no mailbox here by that name. vpopmail (#5.1.1)

--- Below this line is a copy of the message.

{original}
""",
    Fate.FAILED,
    "5.1.1",
    "Sorry, no mailbox here by that name. vpopmail (#5.1.1)",
)

QMAIL_WITHOUT_CODE = Returned(
    """\
From: MAILER-DAEMON@qmail.acme.example
To: {to}
Subject: failure notice

Hi. This is the qmail-send program at qmail.acme.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<boss@acme.example>:
This message is looping: it already has my Delivered-To line.

--- Below this line is a copy of the message.

{original}
""",
    Fate.FAILED,
    "",
    "This message is looping: it already has my Delivered-To line.",
)

EXIM = Returned(
    """\
From: Mail Delivery System <Mailer-Daemon@exim.acme.example>
To: {to}
Auto-Submitted: auto-replied
X-Failed-Recipients: boss@acme.example
References: <r0@invite.example.com>
Content-Type: multipart/report; report-type=delivery-status; boundary=1772442000-eximdsn-1804289383
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1vx1-0004Ab-00@exim.acme.example>

--1772442000-eximdsn-1804289383
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  boss@acme.example
    Unrouteable address

--1772442000-eximdsn-1804289383
Content-type: message/delivery-status

Reporting-MTA: dns; exim.acme.example

Action: failed
Final-Recipient: rfc822;boss@acme.example
Status: 5.0.0

--1772442000-eximdsn-1804289383
Content-type: message/rfc822

{original}
--1772442000-eximdsn-1804289383--
""",
    Fate.FAILED,
    "5.0.0",
    "Unrouteable address",
)

EXIM_OLD = Returned(
    """\
From: Mail Delivery System <Mailer-Daemon@exim.acme.example>
To: {to}
Auto-Submitted: auto-replied
X-Failed-Recipients: boss@acme.example
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1vx2-0004Ab-00@exim.acme.example>

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  boss@acme.example
    SMTP error from remote mail server after RCPT TO:<boss@acme.example>:
    host mx.acme.example [192.0.2.9]: 550 5.1.1 User unknown

------ This is a copy of the message, including all the headers. ------

{original}
""",
    Fate.FAILED,
    "5.1.1",
    "host mx.acme.example [192.0.2.9]: 550 5.1.1 User unknown",
)

EXIM_LATE = Returned(
    """\
From: Mail Delivery System <Mailer-Daemon@exim.acme.example>
To: {to}
Auto-Submitted: auto-replied
Subject: Warning: message 1vx3-0004Ab-00 delayed 24 hours
Message-Id: <E1vx3-0004Ab-00@exim.acme.example>

This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on exim.acme.example.

The address to which the message has not yet been delivered is:

  boss@acme.example

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated at intervals if the message
remains undelivered. Eventually the mail delivery software will give up,
and when that happens, the message will be returned to you.
""",
    Fate.DELAYED,
    "",
    "No action is required on your part. Delivery attempts will continue for",
)

SENDMAIL_LATE = Returned(
    """\
From: Mail Delivery Subsystem <MAILER-DAEMON>
To: {to}
Subject: Warning: could not send message for past 4 hours
Auto-Submitted: auto-generated (warning-timeout)
Message-ID: <200603020900@sendmail.acme.example>

    **********************************************
    **      THIS IS A WARNING MESSAGE ONLY      **
    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **
    **********************************************

   ----- Transcript of session follows -----
<boss@acme.example>... Deferred: 451 4.4.1 Connection refused by mx.acme.example.
Warning: message still undelivered after 4 hours
Will keep trying until message is 5 days old
""",
    Fate.DELAYED,
    "4.4.1",
    "<boss@acme.example>... Deferred: 451 4.4.1 Connection refused by mx.acme.example.",
)

RELAYED = Returned(
    """\
From: MAILER-DAEMON@mx.acme.example (Mail Delivery System)
Subject: Successful Mail Delivery Report
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="r"
Message-Id: <ok@mx.acme.example>

--r
Content-Type: text/plain

The mail was delivered.

--r
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.acme.example

Final-Recipient: rfc822; boss@acme.example
Action: delivered (to the mailbox)
Status: 2.1.5
Diagnostic-Code: smtp; 250 2.1.5 Ok

--r--
""",
    Fate.DELIVERED,
    "2.1.5",
    "250 2.1.5 Ok",
)

GLOBAL = Returned(
    """\
From: MAILER-DAEMON@mx.acme.example
Subject: Undelivered Mail Returned to Sender
To: {to}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="g"
Message-Id: <global@mx.acme.example>

--g
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

The mail could not be delivered.

--g
Content-Type: message/global-delivery-status
Content-Transfer-Encoding: 8bit

Reporting-MTA: dns; mx.acme.example

Final-Recipient: utf-8; jürgen@acme.example
Action: failed
Status: 5.6.7
Diagnostic-Code: smtp; 553 5.6.7 SMTPUTF8 is not supported here

--g--
""",
    Fate.FAILED,
    "5.6.7",
    "553 5.6.7 SMTPUTF8 is not supported here",
)

WITHOUT_ACTION = Returned(
    """\
From: postmaster@acme.example
To: {to}
MIME-Version: 1.0
Content-Type: multipart/report; boundary="w"

--w
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.acme.example

Final-Recipient: rfc822; boss@acme.example
Status: 5.2.1

--w--
""",
    Fate.FAILED,
    "5.2.1",
    "",
)

# A bounce with an invitation beside it: the worst that a forger who has the address can do.
WITH_INVITATION = Returned(
    """\
From: boss@acme.example
To: {to}
Subject: Invitation: Weekly
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="i"
Message-ID: <inside@acme.example>

--i
Content-Type: text/plain

550 no
--i
Content-Type: text/calendar; method=REQUEST; charset=utf-8

{invitation}
--i--
""",
    Fate.FAILED,
    "",
    "550 no",
)

BARE_INVITATION = Returned(
    """\
From: boss@acme.example
To: {to}
Subject: Weekly
Message-ID: <bare@acme.example>
MIME-Version: 1.0
Content-Type: text/calendar; method=REQUEST; charset=utf-8

{invitation}
""",
    Fate.FAILED,
    "",
    "Weekly",
)

NO_SENDER = Returned(
    "Subject: Returned mail: see transcript for details\n\nUser unknown\n", Fate.FAILED, "", "User unknown"
)

OUTLOOK_AWAY = Returned(
    """\
From: Boss <boss@acme.example>
To: {to}
Subject: Automatic reply: Accepted: Weekly
X-Auto-Response-Suppress: All
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset="utf-8"
Message-ID: <oof@acme.example>

I am away until 550 Monday.
""",
    Fate.ANSWERED,
    "",
    "Automatic reply: Accepted: Weekly",
)

SIEVE_AWAY = Returned(
    """\
From: <boss@acme.example>
To: {to}
Subject: Auto: Accepted: Weekly
Auto-Submitted: auto-replied (vacation)
Precedence: bulk
Message-ID: <dovecot-sieve-1@acme.example>

I am away.
""",
    Fate.ANSWERED,
    "",
    "Auto: Accepted: Weekly",
)

AWAY_IN_ITS_OWN_WORDS = Returned(
    """\
From: Boss <boss@acme.example>
To: {to}
Subject: =?utf-8?q?Bin_im_Urlaub_=1b=5b2J?=
Auto-Submitted: auto-replied
Message-ID: <urlaub@acme.example>

Ich bin bis Montag nicht da.
""",
    Fate.ANSWERED,
    "",
    "Bin im Urlaub [2J",
)

RECEIPT = Returned(
    """\
From: boss@acme.example
To: {to}
Subject: Read: Accepted: Weekly
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary="m"
Message-ID: <mdn@acme.example>

--m
Content-Type: text/plain

Your message was deleted without being read.
--m
Content-Type: message/disposition-notification

Final-Recipient: rfc822; boss@acme.example
Disposition: automatic-action/MDN-sent-automatically; deleted
--m--
""",
    Fate.ANSWERED,
    "",
    "Read: Accepted: Weekly",
)

FORMS: dict[str, Returned] = {
    "Postfix": POSTFIX,
    "Postfix 3.7, after DATA": POSTFIX_TODAY,
    "Exchange Online": EXCHANGE,
    "Exchange Online, its status part lost": EXCHANGE_BARE,
    "Exchange 2007, from nobody": EXCHANGE_OLD,
    "Gmail": GMAIL,
    "Gmail, late": GMAIL_LATE,
    "qmail": QMAIL,
    "qmail, without a code": QMAIL_WITHOUT_CODE,
    "Exim": EXIM,
    "Exim before 4.86": EXIM_OLD,
    "Exim, late": EXIM_LATE,
    "Sendmail, late, from a name without a domain": SENDMAIL_LATE,
    "Postfix, delivered": RELAYED,
    "internationalized": GLOBAL,
    "without an Action": WITHOUT_ACTION,
    "an invitation beside it": WITH_INVITATION,
    "nothing but an invitation": BARE_INVITATION,
    "no From": NO_SENDER,
    "Outlook's automatic reply": OUTLOOK_AWAY,
    "a Sieve vacation": SIEVE_AWAY,
    "a vacation in its own words": AWAY_IN_ITS_OWN_WORDS,
    "a receipt": RECEIPT,
}
