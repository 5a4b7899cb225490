from __future__ import annotations

from oneseek_sandbox.leases.notices import Notices


async def test_a_notice_wakes_all_who_expect_it_and_nobody_else():
    notices = Notices()
    with notices.expect("a") as first, notices.expect("a") as second, notices.expect("b") as other:
        notices.wake("a")
        assert first.done()
        assert second.done()
        assert not other.done()
        notices.wake_all()
        assert other.done()


async def test_a_notice_from_before_is_not_given_again():
    notices = Notices()
    notices.wake("a")
    with notices.expect("a") as late:
        assert not late.done()


async def test_nothing_is_kept_of_waiters_who_left():
    notices = Notices()
    for _ in range(3):
        with notices.expect("a"), notices.expect("a"):
            pass
    assert notices._waiters == {}
