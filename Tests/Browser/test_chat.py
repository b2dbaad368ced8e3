"""The web client, as people see it."""

import asyncio

from playwright.async_api import expect

LIST = """
    [...document.querySelectorAll('.message')].map((node) => [
        node.dataset.seq, node.dataset.id, node.dataset.state,
        node.querySelector('.text').textContent])
    """
SEQS = "[...document.querySelectorAll('.message[data-seq]')].map((node) => +node.dataset.seq)"


async def enter(open_page, room, user, **options):
    page = await open_page(f"/?room={room}&user={user}", **options)
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    return page


async def write(page, text):
    await page.locator("#text").fill(text)
    await page.locator("#text").press("Enter")


def bubble(page, text):
    return page.locator(".message").filter(has=page.get_by_text(text, exact=True))


async def test_a_message_appears_in_the_other_page_and_turns_to_stored(
    open_page, room, cluster, picture
):
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "bo")

    await write(ada, "hello bo")
    await write(bo, "hello ada")

    for page in (ada, bo):
        for text in ("hello bo", "hello ada"):
            await expect(bubble(page, text)).to_have_attribute("data-state", "stored")
    await expect(bubble(ada, "hello bo").locator(".sign")).to_have_attribute("aria-label", "stored")
    await expect(bubble(bo, "hello bo").locator(".author")).to_have_text("ada")
    await expect(ada.locator("#text")).to_have_value("")
    ids = {await bubble(ada, text).get_attribute("data-id") for text in ("hello bo", "hello ada")}
    stored = cluster.stored(room)[cluster.owner(room)]
    assert {one for _, one in stored} == ids
    await picture(ada, "two-people")


async def test_a_page_knows_its_own_name_in_the_form_that_the_server_gives_it(open_page, room):
    jose = await enter(open_page, room, "Jose%CC%81")
    await write(jose, "from me")

    await expect(bubble(jose, "from me")).to_have_attribute("data-state", "stored")
    await expect(jose.locator("#people-list .name")).to_have_text(["Jos\u00e9"])
    await expect(jose.locator("#people-list .you")).to_have_count(1)
    await expect(jose.locator(".message.own")).to_have_count(1)


async def test_the_page_shows_who_is_here_and_who_is_typing(open_page, room, picture):
    ada = await enter(open_page, room, "ada")
    await expect(ada.locator("#people-list li")).to_have_count(1)
    bo = await enter(open_page, room, "bo")

    await expect(ada.locator("#people-list .name")).to_have_text(["ada", "bo"])
    await expect(bo.locator("#people-list .name")).to_have_text(["bo", "ada"])
    await expect(ada.locator("#people-count")).to_have_text("2")
    await bo.locator("#text").press_sequentially("hm")
    await expect(ada.locator("#typing")).to_have_text("bo is typing…")
    await picture(ada, "who-is-here")

    await bo.close()
    await expect(ada.locator("#people-list .name")).to_have_text(["ada"])


async def test_older_messages_come_when_scrolling_back(open_page, room, cluster, picture):
    cluster.fill(room, 230)
    ada = await enter(open_page, room, "ada")
    await expect(ada.locator(".message[data-seq='230']")).to_be_in_viewport()
    assert len(await ada.evaluate(SEQS)) < 150

    while not await ada.locator(".message[data-seq='1']").count():
        first = (await ada.evaluate(SEQS))[0]
        await ada.locator("#scroller").evaluate("(node) => { node.scrollTop = 0 }")
        await expect(ada.locator(f".message[data-seq='{first - 1}']")).to_be_attached()
        # What was at the top still is near to it: the page must not jump.
        await expect(ada.locator(f".message[data-seq='{first}']")).to_be_in_viewport()

    assert await ada.evaluate(SEQS) == list(range(1, 231))
    await expect(ada.locator("#beginning")).to_have_text(f"This is where {room} begins.")
    await picture(ada, "history")


async def test_a_reader_of_old_messages_is_not_moved_by_new_ones(open_page, room, cluster):
    cluster.fill(room, 60)
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "bo")
    await expect(ada.locator(".message[data-seq='60']")).to_be_in_viewport()
    await ada.locator("#scroller").evaluate("(node) => { node.scrollTop = 200 }")
    await expect(ada.locator(".message[data-seq='1']")).to_be_attached()
    place = await ada.locator("#scroller").evaluate("(node) => node.scrollTop")

    await write(bo, "first")
    await write(bo, "second")

    await expect(ada.locator("#new-messages")).to_have_text("↓ 2 new messages")
    assert await ada.locator("#scroller").evaluate("(node) => node.scrollTop") == place
    await ada.locator("#new-messages").click()
    await expect(bubble(ada, "second")).to_be_in_viewport()
    await expect(ada.locator("#new-messages")).to_be_hidden()


async def test_what_is_written_while_the_server_is_away_is_stored_when_it_is_back(
    open_page, room, server, picture
):
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "bo")
    await write(bo, "before")
    await expect(bubble(ada, "before")).to_be_visible()

    await asyncio.to_thread(server.kill)
    try:
        await expect(ada.locator("#connection-text")).to_contain_text("offline, back in")
        for text in ("one", "two", "three"):
            await write(ada, text)
            await expect(bubble(ada, text)).to_have_attribute("data-state", "sending")
        await picture(ada, "offline")
    finally:
        await asyncio.to_thread(server.start)

    for page in (ada, bo):
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        for text in ("one", "two", "three"):
            await expect(bubble(page, text)).to_have_attribute("data-state", "stored")
    lists = [await page.evaluate(LIST) for page in (ada, bo)]
    assert lists[0] == lists[1]
    assert [(row[0], row[3]) for row in lists[0]] == [
        ("1", "before"), ("2", "one"), ("3", "two"), ("4", "three")]
    await picture(ada, "back-again")


async def test_what_the_shard_has_lost_comes_back_from_the_page(open_page, room, server, cluster):
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "bo")
    for text in ("one", "two", "three"):
        await write(ada, text)
        await expect(bubble(bo, text)).to_have_attribute("data-state", "stored")

    await asyncio.to_thread(server.kill)
    try:
        cluster.sql(cluster.owner(room), f"""
            delete from messages where room_id = '{room}' and seq > 1;
            update rooms set head = 1 where room_id = '{room}'
            """)
        cluster.fill(room, 1)
    finally:
        await asyncio.to_thread(server.start)

    # Another message has taken number 2; the two that had been there follow it.
    for page in (ada, bo):
        await expect(page.locator(".message[data-seq='4']")).to_contain_text(
            "three", timeout=40_000)
    lists = [await page.evaluate(LIST) for page in (ada, bo)]
    assert lists[0] == lists[1]
    assert [(row[0], row[3]) for row in lists[0]] == [
        ("1", "one"), ("2", "text 1"), ("3", "two"), ("4", "three")]


async def test_what_is_written_while_the_shard_is_away_is_safe_and_seen_later(
    open_page, room, cluster, picture
):
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "bo")
    await write(bo, "before")
    await expect(bubble(ada, "before")).to_be_visible()
    shard = cluster.owner(room)

    await asyncio.to_thread(cluster.kill, shard)
    try:
        for text in ("one", "two"):
            await write(ada, text)
            await expect(bubble(ada, text)).to_have_attribute("data-state", "queued")
        await picture(ada, "queued")
        await expect(bubble(bo, "one")).to_have_count(0)
    finally:
        await asyncio.to_thread(cluster.start)

    for page in (ada, bo):
        for text in ("one", "two"):
            await expect(bubble(page, text)).to_have_attribute(
                "data-state", "stored", timeout=20_000)
    lists = [await page.evaluate(LIST) for page in (ada, bo)]
    assert lists[0] == lists[1]
    assert [(row[0], row[3]) for row in lists[0]] == [("1", "before"), ("2", "one"), ("3", "two")]


async def test_a_closed_tab_sends_its_outbox_when_it_is_opened_again(open_page, room, server):
    ada = await enter(open_page, room, "ada")
    await asyncio.to_thread(server.kill)
    try:
        await expect(ada.locator("#connection")).not_to_have_attribute("data-state", "live")
        await write(ada, "do not forget me")
        await expect(bubble(ada, "do not forget me")).to_have_attribute("data-state", "sending")
        again = await ada.context.new_page()
        await ada.close()
    finally:
        await asyncio.to_thread(server.start)

    await again.goto(f"{server.url}/?room={room}&user=ada")

    await expect(bubble(again, "do not forget me")).to_have_attribute("data-state", "stored")
    assert [row[3] for row in await again.evaluate(LIST)] == ["do not forget me"]


async def test_the_start_page_asks_for_a_room_and_a_name(open_page, room, picture):
    page = await open_page("/")
    await expect(page.locator("#room-field")).to_be_focused()

    await page.locator("#room-field").fill("my room")
    await page.locator("#room-field").press("Enter")
    await expect(page.locator("#room-problem")).to_contain_text("not a space")
    await expect(page.locator("#user-problem")).to_have_text("Please choose a name.")
    await picture(page, "start")

    await page.locator("#room-field").fill(room)
    await page.locator("#user-field").fill("Zoë")
    await page.locator("#user-field").press("Enter")
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await expect(page.locator("#people-list .name")).to_have_text(["Zoë"])

    await page.locator(".back").click()
    await expect(page.locator("#user-field")).to_have_value("Zoë")


async def test_markup_in_a_message_is_only_text(open_page, room):
    ada, bo = await enter(open_page, room, "ada"), await enter(open_page, room, "<i>bo</i>")
    text = "<img src=x onerror=alert(1)> see https://example.org/a_(b), <b>now</b>"

    await write(bo, text)

    await expect(bubble(ada, "https://example.org/a_(b)")).to_be_visible()
    body = ada.locator(".message .text").first
    assert await body.evaluate("(node) => node.textContent") == text
    assert await body.locator("img, b").count() == 0
    link = body.locator("a")
    await expect(link).to_have_attribute("href", "https://example.org/a_(b)")
    await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    await expect(ada.locator(".message .author").first).to_have_text("<i>bo</i>")


async def test_shift_enter_makes_a_line_and_a_long_text_is_counted(open_page, room):
    ada = await enter(open_page, room, "ada")
    await ada.locator("#text").press_sequentially("one")
    await ada.locator("#text").press("Shift+Enter")
    await ada.locator("#text").press_sequentially("two")
    await ada.locator("#text").press("Enter")
    await expect(ada.locator(".message .text")).to_have_text("one\ntwo", use_inner_text=True)

    await ada.locator("#text").fill("ä" * 8_000)
    await expect(ada.locator("#byte-count")).to_have_text("384 bytes left")
    await ada.locator("#text").fill("ä" * 8_193)
    await expect(ada.locator("#byte-count")).to_have_text("2 bytes too long")
    await expect(ada.locator("#send")).to_be_disabled()


async def test_the_page_fits_a_phone(open_page, room, picture):
    ada = await enter(
        open_page, room, "ada", viewport={"width": 360, "height": 640}, has_touch=True,
        color_scheme="dark")
    await write(ada, "averylongword" * 20)
    await expect(ada.locator(".message")).to_have_attribute("data-state", "stored")

    width = await ada.evaluate("document.documentElement.scrollWidth")
    assert width == 360
    await expect(ada.locator("#people")).to_be_hidden()
    await ada.locator("#people-toggle").click()
    await expect(ada.locator("#people-list .name")).to_have_text(["ada"])
    await picture(ada, "phone")
