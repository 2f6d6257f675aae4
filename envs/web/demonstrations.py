"""One solved page for each of the paper's 44 tasks: what a model is shown of the language of web programs.

Each program is written as a model should imitate it: short, and addressing elements by what the task shows.
Its problem is one of no run: seeds from 20,000 on are neither trained on nor tested (see `envs.web.pages`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# A page and a seed, and below them the program.
_PROGRAMS = """
# choose-date 20006
agent.click_xpath("//*[@id='datepicker']")
for month in range(2):
    agent.click_xpath("//a[@title='Prev']")
agent.click_xpath("//a[text()='13']")
agent.click_xpath("//*[@id='subbtn']")

# choose-list 20000
agent.click_option("//option[text()='Charis']")
agent.click_xpath("//button[text()='Submit']")

# click-button 20003
agent.click_xpath("//button[text()='Yes']")

# click-button-sequence 20000
agent.click_xpath("//button[text()='ONE']")
agent.click_xpath("//button[text()='TWO']")

# click-checkboxes 20006
agent.click_xpath("//label[text()='4jnFI']")
agent.click_xpath("//label[text()='ZZ']")
agent.click_xpath("//label[text()='Pp']")
agent.click_xpath("//*[@id='subbtn']")

# click-checkboxes-large 20000
for name in ["Yf", "59", "uaOYVOt", "zlE", "9nZ2S0"]:
    agent.click_xpath(f"//label[text()='{name}']")
agent.click_xpath("//*[@id='subbtn']")

# click-checkboxes-soft 20007
agent.click_xpath("//label[text()='scarlet']")
agent.click_xpath("//label[text()='automobile']")
agent.click_xpath("//label[text()='fire']")
agent.click_xpath("//*[@id='subbtn']")

# click-checkboxes-transfer 20001
agent.click_xpath("//label[text()='TeGyap']")
agent.click_xpath("//label[text()='KNwF']")
agent.click_xpath("//label[text()='BVxD']")
agent.click_xpath("//*[@id='subbtn']")

# click-collapsible 20000
agent.click_xpath("//h3[text()='Section #1']")
agent.click_xpath("//*[@id='subbtn']")

# click-color 20000
agent.click_xpath("//*[@data-color='yellow']")

# click-dialog 20000
agent.click_xpath("//button[@title='Close']")

# click-dialog-2 20000
agent.click_xpath("//button[text()='Cancel']")

# click-link 20000
agent.click_xpath("//span[text()='Ornare']")

# click-option 20000
agent.click_xpath("//label[text()='OY']")
agent.click_xpath("//*[@id='subbtn']")

# click-scroll-list 20000
agent.click_option("//option[text()='Cornelle']")
agent.click_option("//option[text()='Floria']")
agent.click_xpath("//button[text()='Submit']")

# click-shades 20000
agent.click_xpath("//*[@data-color='red']")
agent.click_xpath("//*[@id='submit']")

# click-shape 20000
agent.click_xpath("//*[name()='circle'][@fill='aqua']")

# click-tab 20000
agent.click_xpath("//a[text()='Tab #1']")

# click-test 20000
agent.click_xpath("//*[@id='subbtn']")

# click-test-2 20000
agent.click_xpath("//button[text()='ONE']")

# click-widget 20004
agent.click_xpath("//*[@data-type='textarea']")

# copy-paste 20000
agent.click_xpath("//*[@id='to-copy']")
agent.press("command+a")
agent.press("command+c")
agent.click_xpath("//*[@id='answer-input']")
agent.press("command+v")
agent.click_xpath("//*[@id='subbtn']")

# copy-paste-2 20001
agent.click_xpath("//*[@id='text-3']")
agent.press("command+a")
agent.press("command+c")
agent.click_xpath("//*[@id='answer-input']")
agent.press("command+v")
agent.click_xpath("//*[@id='subbtn']")

# enter-date 20001
agent.click_xpath("//*[@id='tt']")
agent.press("arrowleft")
agent.press("arrowleft")
agent.type("10172018")
agent.click_xpath("//*[@id='subbtn']")

# enter-password 20001
agent.click_xpath("//*[@id='password']")
agent.type("4vBVx")
agent.click_xpath("//*[@id='verify']")
agent.type("4vBVx")
agent.click_xpath("//*[@id='subbtn']")

# enter-text 20000
agent.click_xpath("//*[@id='tt']")
agent.type("Tula")
agent.click_xpath("//*[@id='subbtn']")

# enter-text-dynamic 20001
agent.click_xpath("//*[@id='tt']")
agent.type("VxDTn")
agent.click_xpath("//*[@id='subbtn']")

# enter-time 20000
agent.click_xpath("//*[@id='tt']")
agent.type("0720PM")
agent.click_xpath("//*[@id='subbtn']")

# focus-text 20000
agent.click_xpath("//*[@id='tt']")

# focus-text-2 20000
agent.click_xpath("//*[@id='tt2']")

# guess-number 20000
for guess in range(10):
    agent.click_xpath("//*[@id='tt']")
    agent.press("command+a")
    agent.type(guess)
    agent.click_xpath("//*[@id='subbtn']")

# identify-shape 20003
agent.click_xpath("//button[text()='Number']")

# multi-layouts 20000
agent.click_xpath("//*[text()='Year:']/following::input[1]")
agent.type("2011")
agent.click_xpath("//*[text()='Director:']/following::input[1]")
agent.type("Beck")
agent.click_xpath("//*[text()='Genre:']/following::input[1]")
agent.type("action")
agent.click_xpath("//*[text()='Submit']")

# multi-orderings 20000
agent.click_xpath("//*[text()='Director']/following::input[1]")
agent.type("Beck")
agent.click_xpath("//*[text()='Year']/following::input[1]")
agent.type("2011")
agent.click_xpath("//*[text()='Genre']/following::input[1]")
agent.type("action")
agent.click_xpath("//*[text()='Submit']")

# navigate-tree 20003
agent.click_xpath("//span[@class='folder']")
agent.click_xpath("//span[text()='Lyda']")

# read-table 20000
agent.click_xpath("//*[@id='tt']")
agent.type("Tamara")
agent.click_xpath("//*[@id='subbtn']")

# search-engine 20003
agent.click_xpath("//*[@id='search-text']")
agent.type("Dannie")
agent.click_xpath("//*[@id='search']")
agent.click_xpath("//a[text()='2']")
agent.click_xpath("//a[@data-result='5']")

# simple-algebra 20001
agent.click_xpath("//*[@id='math-answer']")
agent.type("-81")
agent.click_xpath("//*[@id='subbtn']")

# simple-arithmetic 20001
agent.click_xpath("//*[@id='math-answer']")
agent.type("16")
agent.click_xpath("//*[@id='subbtn']")

# social-media-all 20004
agent.click_xpath("//div[@class='media'][.//span[text()='@amet']]//span[@class='like']")
agent.click_xpath("//button[text()='Submit']")

# text-transform 20001
agent.click_xpath("//*[@id='tt']")
agent.type("VxDT")
agent.click_xpath("//*[@id='subbtn']")

# unicode-test 20000
agent.click_xpath("//button[text()='Cancél']")

# use-slider 20003
agent.click_xpath("//span[contains(@class, 'ui-slider-handle')]")
for step in range(9):
    agent.press("arrowleft")
agent.click_xpath("//*[@id='subbtn']")

# use-spinner 20003
for step in range(5):
    agent.click_xpath("//a[contains(@class, 'ui-spinner-down')]")
agent.click_xpath("//*[@id='subbtn']")
"""
_HEADING = re.compile(r"^# (\S+) (\d+)\n", re.MULTILINE)


@dataclass(frozen=True)
class WebDemonstration:
    """A page, the seed of its problem, and a program that solves it."""

    page: str
    seed: int
    program: str


def _demonstrations() -> dict[str, WebDemonstration]:
    _, *parts = _HEADING.split(_PROGRAMS)
    entries = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return {page: WebDemonstration(page, int(seed), program.strip()) for page, seed, program in entries}


# By page.
DEMONSTRATIONS: Mapping[str, WebDemonstration] = MappingProxyType(_demonstrations())
