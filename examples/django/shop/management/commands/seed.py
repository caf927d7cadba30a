"""Fills an empty shop: 12 categories, 300 products, reviews, and the users demo/demo and admin/admin."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils.text import slugify

from shop.models import Category, Product, Review

CATEGORIES = [
    # name, image, blurb, kinds of product
    ("Boats", "boat.svg", "For bathtubs and for open water.", ["Dinghy", "Model Sloop", "Kayak", "Raft", "Tender"]),
    ("Mugs", "cup.svg", "Hot drinks on a cold deck.", ["Mug", "Tumbler", "Tea Bowl", "Espresso Cup", "Flask"]),
    ("Lamps", "lamp.svg", "Light for the long evenings.", ["Lantern", "Desk Lamp", "Night Light", "Reading Lamp", "Torch"]),
    ("Ropes", "rope.svg", "Lines that hold.", ["Mooring Line", "Dock Rope", "Cord", "Halyard", "Net"]),
    ("Books", "book.svg", "Charts, tales and tide tables.", ["Atlas", "Tide Table", "Sea Story", "Logbook", "Field Guide"]),
    ("Shells", "shell.svg", "Found on the beach, more or less.", ["Conch", "Cockle", "Whelk", "Shell Necklace", "Pearl"]),
    ("Kitchen", "cup.svg", "From galley to table.", ["Skillet", "Fish Knife", "Kettle", "Chopping Board", "Stockpot"]),
    ("Clothing", "shell.svg", "Warm, dry and blue.", ["Pea Coat", "Wool Jumper", "Rain Hat", "Deck Shoe", "Scarf"]),
    ("Furniture", "lamp.svg", "It stays where you put it.", ["Deck Chair", "Sea Chest", "Stool", "Hammock", "Bookshelf"]),
    ("Garden", "rope.svg", "For soil and salt air.", ["Planter", "Trowel", "Watering Can", "Bench", "Bird House"]),
    ("Tools", "boat.svg", "What the boatyard uses.", ["Caulking Iron", "Marlinspike", "Hand Plane", "Clamp", "Mallet"]),
    ("Paper", "book.svg", "To write home on.", ["Notebook", "Postcard Set", "Chart Print", "Envelope Pack", "Calendar"]),
]
ADJECTIVES = ["Northern", "Quiet", "Driftwood", "Copper", "Tidal"]
AUTHORS = ["Ada", "Bram", "Chidi", "Dagny", "Emre", "Fenna", "Goro", "Hana", "Ines", "Jonas"]
OPINIONS = [
    "Does what it says.",
    "Arrived quickly and well packed.",
    "I bought a second one for my sister.",
    "Smaller than I thought, but lovely.",
    "Has survived two winters outside.",
    "The colour is not quite the one in the picture.",
]


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--if-empty", action="store_true", help="do nothing when there are products already")

    @transaction.atomic
    def handle(self, *args, if_empty, **options):
        if Product.objects.exists():
            if not if_empty:
                self.stderr.write("There are products already: nothing done.")
            return
        rng = random.Random(1)  # the same shop every time
        now = datetime.now(UTC)

        categories = Category.objects.bulk_create(
            Category(name=name, slug=slugify(name), image=image, blurb=blurb) for name, image, blurb, _ in CATEGORIES
        )
        products = Product.objects.bulk_create(
            self.product(rng, category, adjective, kind)
            for category, (_, _, _, kinds) in zip(categories, CATEGORIES, strict=True)
            for kind in kinds
            for adjective in ADJECTIVES
        )
        reviews = Review.objects.bulk_create(
            Review(
                product=product,
                author=rng.choice(AUTHORS),
                rating=rng.choice([2, 3, 4, 4, 5, 5, 5]),
                text=" ".join(rng.sample(OPINIONS, 2)),
            )
            for product in products
            for _ in range(rng.randrange(0, 12))
        )
        for review in reviews:  # auto_now_add has set them all to now
            review.created = now - timedelta(days=rng.randrange(1, 700))
        Review.objects.bulk_update(reviews, ["created"], batch_size=200)

        users = get_user_model().objects
        users.create_user("demo", password="demo")
        users.create_superuser("admin", password="admin")
        self.stdout.write(f"{len(categories)} categories, {len(products)} products, {len(reviews)} reviews")

    def product(self, rng, category, adjective, kind):
        name = f"{adjective} {kind}"
        return Product(
            category=category,
            name=name,
            slug=slugify(name),
            description=(
                f"The {name} is one of our {category.name.lower()}. {category.blurb}\n\n"
                "Made by hand in a small workshop behind the breakwater, checked twice, and packed in straw. "
                "It comes with a card that says who made it and when.\n\n"
                "Keep it out of the reach of gulls."
            ),
            price=Decimal(rng.randrange(300, 25000)) / 100,
            # Plenty, so that a load test does not sell out.
            stock=rng.randrange(20_000, 90_000),
            featured=rng.random() < 0.08,
        )
