"""The web client on a server that asks for tokens."""

import time

import jwt
import pytest
from playwright.async_api import expect

SECRET = "a-secret-of-the-browser-tests-0123456789"


@pytest.fixture(scope="module")
def guarded(cluster):
    path = cluster.folder / "browser.keys"
    path.write_text(f"hs256:{SECRET}\n")
    path.chmod(0o600)
    return cluster.chatd("guarded-web", CHATD_AUTH="jwt", CHATD_JWT_KEYS=str(path))


def token(lasting=600, rights=("read", "write")):
    claims = {"sub": "ädä", "exp": time.time() + lasting, "rooms": {"*": list(rights)}}
    return jwt.encode(claims, SECRET, "HS256")


async def expect_live(page):
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")


async def test_a_token_in_the_address_is_used_and_taken_out_of_it(open_page, room, guarded):
    ada = await open_page(f"/?room={room}&user=eve#token={token()}", at=guarded)
    await expect_live(ada)

    await expect(ada.locator("#people-list .name")).to_have_text(["ädä"])
    await ada.locator("#text").fill("hello")
    await ada.locator("#text").press("Enter")
    await expect(ada.locator(".message")).to_have_attribute("data-state", "stored")
    assert "token" not in ada.url
    kept = await ada.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "eyJ" not in kept


async def test_the_start_page_keeps_the_token(open_page, room, guarded):
    ada = await open_page(f"/#token={token()}", at=guarded)
    await expect(ada.locator("#user-field")).to_have_value("ädä")

    await ada.locator("#room-field").fill(room)
    await ada.locator("#room-field").press("Enter")

    await expect_live(ada)
    assert ada.url.endswith(f"/?room={room}")


async def test_a_fresh_token_in_the_address_keeps_the_page(open_page, room, guarded):
    ada = await open_page(f"/?room={room}#token={token(lasting=4)}", at=guarded)
    await expect_live(ada)

    await ada.evaluate(f"location.hash = 'token={token(lasting=9)}'")
    await ada.wait_for_timeout(6_000)
    await expect_live(ada)

    await expect(ada.locator("#banner-text")).to_contain_text("fresh token")
    await ada.evaluate(f"location.hash = 'token={token()}'")
    await expect_live(ada)
    assert "token" not in ada.url


async def test_without_the_right_to_write_a_message_says_so(open_page, room, guarded):
    ada = await open_page(f"/?room={room}#token={token(rights=['read'])}", at=guarded)
    await expect_live(ada)

    await ada.locator("#text").fill("hello")
    await ada.locator("#text").press("Enter")

    await expect(ada.locator(".message")).to_have_attribute("data-state", "failed")
    await expect_live(ada)
