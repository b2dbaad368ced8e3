"""Moderators on the page: what they delete is gone from it, and what they do is seen."""

import asyncio

import pytest
from playwright.async_api import expect

from chat_client import Socket
from test_chat import bubble, enter, write
from test_token import SECRET as KEY, token

SECRET = "nobody should read this"
TEXTS = "[...document.querySelectorAll('.message .text')].map((node) => node.textContent)"


@pytest.fixture(scope="module")
def guarded(cluster):
    path = cluster.folder / "moderated-page.keys"
    path.write_text(f"hs256:{KEY}\n")
    path.chmod(0o600)
    return cluster.chatd("moderated-page", CHATD_AUTH="jwt", CHATD_JWT_KEYS=str(path))


async def delete(page, text):
    """Presses the button of a message, and means it."""
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    message = bubble(page, text)
    await message.hover()
    await message.locator(".remove").click()


async def test_a_deleted_message_leaves_every_page(open_page, room, picture):
    mod, bo = await enter(open_page, room, "mod"), await enter(open_page, room, "bo")
    await write(bo, "first")
    await write(bo, SECRET)
    await expect(bubble(mod, SECRET)).to_be_visible()

    await delete(mod, SECRET)

    late = await enter(open_page, room, "late")
    for page in (mod, bo, late):
        await expect(page.locator(".message.event")).to_have_text("mod deleted a message")
        await expect(page.locator(".message.deleted .text")).to_have_text("deleted by mod")
        assert await page.evaluate(TEXTS) == ["first", "deleted by mod", "mod deleted a message"]
        assert SECRET not in await page.content()
        assert SECRET not in await page.evaluate("JSON.stringify({...localStorage})")
    await picture(mod, "deleted")


async def test_a_question_that_is_answered_with_no_deletes_nothing(open_page, room):
    mod = await enter(open_page, room, "mod")
    await write(mod, "stays")
    await expect(bubble(mod, "stays")).to_have_attribute("data-state", "stored")

    mod.once("dialog", lambda dialog: asyncio.ensure_future(dialog.dismiss()))
    await bubble(mod, "stays").hover()
    await bubble(mod, "stays").locator(".remove").click()
    await write(mod, "after")

    await expect(bubble(mod, "after")).to_have_attribute("data-state", "stored")
    await expect(bubble(mod, "stays")).to_be_visible()


async def test_who_may_not_moderate_has_no_button(open_page, room, guarded):
    ada = await open_page(f"/?room={room}#token={token()}", at=guarded)
    await expect(ada.locator("#connection")).to_have_attribute("data-state", "live")
    await write(ada, "text")
    await expect(bubble(ada, "text")).to_have_attribute("data-state", "stored")

    await bubble(ada, "text").hover()
    await expect(ada.locator(".remove")).to_be_hidden()


async def test_mutes_and_kicks_are_seen(open_page, room, server, picture):
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "bo")
    async with await Socket.join(server.url, room, "mod") as mod:
        await mod.moderate(mute="bo", seconds=60)
        await expect(bo.locator(".message.event")).to_contain_text("mod muted bo until")
        await write(bo, "hello?")
        await expect(bo.locator(".failure .reason")).to_contain_text("muted until")
        await mod.moderate(unmute="bo")
        await expect(bo.locator(".message.event")).to_have_count(2)
        await mod.moderate(kick="bo", seconds=60)

        await expect(bo.locator("#banner-text")).to_contain_text(
            "You are not let in. (sent out by a moderator, until")
        await expect(ada.locator(".message.event").last).to_contain_text("mod sent bo out until")
        await expect(ada.locator("#people-list .name")).to_have_text(["ada", "mod"])
        await bo.locator("#banner-retry").click()
        await expect(bo.locator("#banner-text")).to_contain_text("(barred by a moderator, until")
        await picture(bo, "kicked")


TIMELINE = """
    const it = await import("/timeline.js");
    const message = (seq, fields) => ({ id: "id-" + seq, seq, text: "secret", receipt: "r", ...fields });
    const deletion = (seq, of) => message(seq, { text: "", event: { kind: "delete", id: "id-" + of } });
    const shown = (messages) => messages.map(({ seq, text, receipt, deletedBy }) =>
        [seq, text, receipt ?? null, deletedBy ?? null]);
    const line = new it.Timeline();
    """


async def test_the_timeline_forgets_what_is_deleted_in_any_order(open_page):
    page = await open_page("/")
    result = await page.evaluate("async () => {" + TIMELINE + """
        line.reset([2, 3].map((seq) => message(seq)), false);
        line.add(deletion(6, 5));
        line.add(message(5));
        const held = line.add(deletion(4, 2));
        const emptied = line.takeEmptied();
        const older = line.prependPage([message(1)], true);
        line.lose(2);
        return [shown(held), shown(emptied), shown(older), shown(line.unsequenced),
            line.takeEmptied().length];
        }""")

    assert result == [
        [[4, "", "r", None], [5, "secret", "r", None], [6, "", "r", None]],
        [[2, "", None, 4], [5, "", None, 6]],
        [[1, "secret", "r", None]],
        [[None, "secret", "r", None], [None, "", "r", None], [None, "", "r", None]], 0,
    ]
