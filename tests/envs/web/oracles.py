"""Scripted solvers of the paper's 44 pages: proof that each can be solved without a look after the first.

A solver reads what the task shows, the utterance and the clean form of the page, and writes one program. Only
click-shape also reads the raw markup: the clean form does not show how large a letter is.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from envs import Task

Oracle = Callable[[Task], str]

# Pages of the paper for which there is no program that is right without a look at what its actions did, with
# the reason. There is none: where a page hides something, it can be asked for all of it (folders), all of it
# can be tried (numbers), or its place is known (results of a search).
IMPOSSIBLE_OPEN_LOOP: Mapping[str, str] = MappingProxyType({})

# --- Reading a task ------------------------------------------------------------------------------------

_LINE = re.compile(
    r'^ *<(?P<tag>\w+)(?P<attributes>(?: [\w-]+(?:="[^"]*")?)*)>(?P<text>.*?)(?:</(?P=tag)>)?$'
)


@dataclass(frozen=True)
class Element:
    """One line of the clean form."""

    tag: str
    attributes: Mapping[str, str]
    text: str


def page(task: Task) -> list[Element]:
    """What the question shows of the page."""
    matches = (_LINE.match(line) for line in task.question.split("\n"))
    return [
        Element(match["tag"], dict(re.findall(r'([\w-]+)="([^"]*)"', match["attributes"])), match["text"])
        for match in matches
        if match
    ]


def said(task: Task, pattern: str) -> tuple[str, ...]:
    """The groups of `pattern` in the utterance."""
    utterance = task.meta["utterance"]
    match = re.search(pattern, utterance)
    if match is None:
        raise ValueError(f"{task.id}: {utterance!r} does not match {pattern!r}")
    return match.groups()


def texts(task: Task, tag: str) -> list[str]:
    return [element.text for element in page(task) if element.tag == tag]


def content(task: Task, identifier: str) -> str:
    """The text of the element that has this id."""
    return next(element.text for element in page(task) if element.attributes.get("id") == identifier)


# --- Writing a program ---------------------------------------------------------------------------------


def click(xpath: str) -> str:
    return f'agent.click_xpath("{xpath}")'


def typed(text: str | int) -> str:
    return f'agent.type("{text}")'


def press(key: str) -> str:
    return f'agent.press("{key}")'


def lines(*parts: str) -> str:
    return "\n".join(parts)


def times(count: int, action: str) -> str:
    return f"for i in range({count}):\n    {action}"


def labelled(text: str, tag: str = "*") -> str:
    """The XPath of the element with exactly this text."""
    return f"//{tag}[text()='{text}']"


SUBMIT = click("//button[text()='Submit']")


def fill(fields: Iterable[tuple[str, str | int]]) -> str:
    """Types texts into fields, each by its XPath, and submits them."""
    return lines(*(lines(click(xpath), typed(text)) for xpath, text in fields), SUBMIT)


# --- Clicks --------------------------------------------------------------------------------------------


def always(*actions: str) -> Oracle:
    """One program for every seed."""
    return lambda task: lines(*actions)


def click_what_is_said(pattern: str, xpath: str, *then: str) -> Oracle:
    """One click on the XPath, in which {0} is what the pattern finds in the utterance."""
    return lambda task: lines(click(xpath.format(*said(task, pattern))), *then)


def click_labels(task: Task) -> str:
    (names,) = said(task, "Select (.*) and click Submit")
    chosen = [] if names == "nothing" else names.split(", ")
    return lines(*(click(labelled(name, "label")) for name in chosen), SUBMIT)


# The page's own groups of words, which a model has to know by itself.
SYNONYMS = tuple(
    set(group.split())
    for group in """big large huge enormous gigantic
small tiny little mini petite
red scarlet crimson vermillion
happy cheerful joyful gleeful delighted
sad unhappy sorrowful miserable tragic
angry mad furious irritated
evil wicked immoral sinful corrupt depraved
wrong incorrect mistaken erroneous
real genuine actual
strange odd peculiar unusual weird
stop cease halt end finish
scared terrified panicked fearful frightened afraid
quiet calm peaceful serene mild
old aged archaic
love like adore favor
kill murder assassinate
keep retain preserve sustain maintain
hide conceal camouflage
hate despise loathe detest dislike
funny humorous amusing comical laughable
fat fleshy plump chubby
stupid dumb dull unwise
delicious savory delectable appetizing
cut slice carve chop
brave courageous fearless
begin start initiate launch
answer reply response
television televisions TV TVs
house home houses homes
fire flame fires flames
pig pork swine
rabbit rabbits bunny bunnies
car cars automobile automobiles vehicle vehicles
water""".splitlines()
)


def click_similar_labels(task: Task) -> str:
    (names,) = said(task, "similar to (.*) and click Submit")
    meant = set().union(*(group for group in SYNONYMS if group & set(names.split(", "))))
    chosen = [label for label in texts(task, "label") if label in meant]
    return lines(*(click(labelled(label, "label")) for label in chosen), SUBMIT)


def click_options(task: Task) -> str:
    (names,) = said(task, "Select (.*) from the (?:scroll )?list")
    options = (f'agent.click_option("{labelled(name, "option")}")' for name in names.split(", "))
    return lines(*options, SUBMIT)


def click_dialog_button(task: Task) -> str:
    (label,) = said(task, 'labeled "(.*)"')
    return click("//button[@title='Close']" if label == "x" else labelled(label, "button"))


def open_folders_and_click(task: Task) -> str:
    """All folders are opened, outer ones first, if the name is in none that is open."""
    (name,) = said(task, 'named "(.*)"')
    target = click(labelled(name, "span"))
    return target if name in texts(task, "span") else lines(click("//span[@class='folder']"), target)


def click_posts(task: Task) -> str:
    action, user = said(task, r'the "(\w+)" button on all posts by (\S+) and')
    post = f"//div[@class='media'][.//span[text()='{user}']]"
    return lines(click(f"{post}//span[@class='{action.lower()}']"), SUBMIT)


# --- Shapes --------------------------------------------------------------------------------------------

SHAPES = {"circle": "circle", "rect": "rectangle", "polygon": "triangle"}


@dataclass(frozen=True)
class Shape:
    """What can be said of a shape: `names` holds all its words, `xpath` where it is."""

    names: frozenset[str]
    xpath: str


def shapes(task: Task) -> list[Shape]:
    return [_shape(element, task) for element in page(task) if element.tag in (*SHAPES, "text")]


def _shape(element: Element, task: Task) -> Shape:
    kind = "shape" if element.tag in SHAPES else "digit" if element.text.isdigit() else "letter"
    name = SHAPES.get(element.tag, element.text)
    size = "large" if _extent(element, task) > 10 else "small"
    places = [name for name in ("cx", "cy", "x", "y", "points") if name in element.attributes]
    conditions = "".join(f"[@{name}='{element.attributes[name]}']" for name in places)
    names = frozenset({size, element.attributes["fill"], name, kind, "item"})
    return Shape(names, f"//*[name()='{element.tag}']{conditions}")


def _extent(element: Element, task: Task) -> float:
    """Pixels from side to side: 10 if small."""
    attributes = element.attributes
    if element.tag == "text":
        place = f' x="{attributes["x"]}" y="{attributes["y"]}"'
        match = re.search(rf'<text[^>]* font-size="(\d+)px"[^>]*{place}', task.meta["html"])
        return float(match[1]) if match else 0.0
    if element.tag == "polygon":
        corners = [float(corner.split(",")[0]) for corner in attributes["points"].split()]
        return max(corners) - min(corners)
    return float(attributes["width"]) if element.tag == "rect" else 2 * float(attributes["r"])


def click_shape(task: Task) -> str:
    (description,) = said(task, "Click on a (.*)")
    return click(next(shape.xpath for shape in shapes(task) if shape.names >= set(description.split())))


def identify_shape(task: Task) -> str:
    [shape] = shapes(task)
    kinds = {"circle": "Circle", "rectangle": "Rectangle", "triangle": "Triangle", "digit": "Number"}
    return click(labelled(next((kinds[kind] for kind in kinds if kind in shape.names), "Letter"), "button"))


# --- Fields --------------------------------------------------------------------------------------------


def enter(pattern: str, *xpaths: str) -> Oracle:
    """Types what the pattern finds in the utterance into each field."""
    return lambda task: fill((xpath, "".join(said(task, pattern))) for xpath in xpaths)


def enter_date(task: Task) -> str:
    """A click into the middle of the field goes to its year: two keys lead back to the month."""
    date = "".join(said(task, r"(\d+)/(\d+)/(\d+)"))
    return lines(click("//input"), times(2, press("arrowleft")), typed(date), SUBMIT)


def enter_time(task: Task) -> str:
    hour, minute, half = said(task, r"(\d+):(\d+) ([AP]M)")
    return fill([("//input", f"{hour:0>2}{minute}{half}")])


def enter_value_of_table(task: Task) -> str:
    (key,) = said(task, "value of (.*) into")
    cells = texts(task, "td")
    return fill([("//input", dict(zip(cells[::2], cells[1::2], strict=True))[key])])


def enter_captcha(task: Task) -> str:
    return fill([("//input", "".join(texts(task, "span")))])


def search_movies(task: Task) -> str:
    """Fields and their labels are in the same order, whatever the layout; the button is the last thing."""
    genre, director, year = said(task, "for (.*) movies directed by (.*) from year (.*)[.]")
    meanings = {"Genre": genre, "Director": director, "Year": year, "Date": year}
    labels = re.findall("|".join(meanings), " ".join(element.text for element in page(task)))
    fields = enumerate((meanings[label] for label in labels), 1)
    entries = (lines(click(f"(//div[@id='area']//input)[{i}]"), typed(text)) for i, text in fields)
    return lines(*entries, click(labelled(page(task)[-1].text)))


def solve_equation(task: Task) -> str:
    """x ± a = b, or a ± x = b."""
    left, sign, right, _, result = math_problem(task)
    if left == "x":
        answer = int(result) - int(right) if sign == "+" else int(result) + int(right)
    else:
        answer = int(result) - int(left) if sign == "+" else int(left) - int(result)
    return fill([("//input", answer)])


def calculate(task: Task) -> str:
    left, sign, right, _ = math_problem(task)
    a, b = int(left), int(right)
    return fill([("//input", {"+": a + b, "-": a - b, "x": a * b}[sign])])


def math_problem(task: Task) -> list[str]:
    return content(task, "math-problem").split(" ")


def guess_all(task: Task) -> str:
    """A wrong guess ends nothing, and what comes after the right one is not done."""
    guess = (click("//input"), press("command+a"), "agent.type(i)", SUBMIT)
    return times(10, "\n    ".join(guess))


def search_and_click(task: Task) -> str:
    """Three results a page, in pages that have their number as a link."""
    name, number = said(task, r'enter "(.*)" and .* the (\d)\w\w search result')
    page_number = (int(number) - 1) // 3
    turn = [click(labelled(str(page_number + 1), "a"))] if page_number else []
    result = click(f"//a[@data-result='{int(number) - 1}']")
    return lines(click("//input"), typed(name), click("//button[@id='search']"), *turn, result)


def copy_from(xpath: str) -> str:
    copied = (click(xpath), press("command+a"), press("command+c"))
    return lines(*copied, click("//input"), press("command+v"), SUBMIT)


def copy_from_number(task: Task) -> str:
    return copy_from(f"//textarea[@id='text-{said(task, 'the ([123])')[0]}']")


# --- Things of jQuery UI -------------------------------------------------------------------------------


def choose_date(task: Task) -> str:
    """The picker opens in the last month there is, December 2016."""
    month, day = (int(number) for number in said(task, r"(\d+)/(\d+)/"))
    back = times(12 - month, click("//a[@title='Prev']"))
    return lines(click("//input"), back, click(labelled(str(day), "a")), SUBMIT)


def use_slider(task: Task) -> str:
    """The keys move it by one, whichever way it lies."""
    steps = int(said(task, r"Select (-?\d+)")[0]) - int(content(task, "val"))
    moves = times(abs(steps), press("arrowright" if steps > 0 else "arrowleft"))
    return lines(click("//span[contains(@class, 'ui-slider-handle')]"), moves, SUBMIT)


def use_spinner(task: Task) -> str:
    steps = int(said(task, r"Select (-?\d+)")[0])
    button = click(f"//a[contains(@class, 'ui-spinner-{'up' if steps > 0 else 'down'}')]")
    return lines(times(abs(steps), button), SUBMIT)


ORACLES: Mapping[str, Oracle] = MappingProxyType(
    {
        "choose-date": choose_date,
        "choose-list": click_options,
        "click-button": click_what_is_said('the "(.*)" button', "//button[text()='{0}']"),
        # One button may lie on the other; the Tab key reaches both.
        "click-button-sequence": always(*2 * (press("tab"), press("enter"))),
        "click-checkboxes": click_labels,
        "click-checkboxes-large": click_labels,
        "click-checkboxes-soft": click_similar_labels,
        "click-checkboxes-transfer": click_labels,
        "click-collapsible": always(click("//h3"), SUBMIT),
        "click-color": click_what_is_said(r"the (\w+) colored", "//div[@data-color='{0}']"),
        "click-dialog": always(click("//button[@title='Close']")),
        "click-dialog-2": click_dialog_button,
        "click-link": click_what_is_said('link "(.*)"', "//span[text()='{0}']"),
        "click-option": click_labels,
        "click-scroll-list": click_options,
        "click-shades": click_what_is_said(r"shades of (\w+)", "//span[@data-color='{0}']", SUBMIT),
        "click-shape": click_shape,
        "click-tab": click_what_is_said(r"(Tab #\d)", "//a[text()='{0}']"),
        "click-test": always(click("//button")),
        "click-test-2": always(press("tab"), press("enter")),
        "click-widget": click_what_is_said('a "(.*)" widget', "//*[@data-type='{0}']"),
        "copy-paste": always(copy_from("//textarea")),
        "copy-paste-2": copy_from_number,
        "enter-date": enter_date,
        "enter-password": enter('"(.*)"', "//input[@id='password']", "//input[@id='verify']"),
        "enter-text": enter('"(.*)"', "//input"),
        "enter-text-dynamic": enter('"(.*)"', "//input"),
        "enter-time": enter_time,
        "focus-text": always(click("//input")),
        "focus-text-2": click_what_is_said(r"the (\d)", "//input[@id='tt{0}']"),
        "guess-number": guess_all,
        "identify-shape": identify_shape,
        "multi-layouts": search_movies,
        "multi-orderings": search_movies,
        "navigate-tree": open_folders_and_click,
        "read-table": enter_value_of_table,
        "search-engine": search_and_click,
        "simple-algebra": solve_equation,
        "simple-arithmetic": calculate,
        "social-media-all": click_posts,
        "text-transform": enter_captcha,
        "unicode-test": click_what_is_said('the "(.*)" button', "//button[text()='{0}']"),
        "use-slider": use_slider,
        "use-spinner": use_spinner,
    }
)
