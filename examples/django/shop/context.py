from .models import Category


def navigation(request):
    """The category menu of every page. Lazy: no query unless a template loops over it.

    Nothing here may depend on the visitor (session, user), or the page could not be cached.
    """
    return {"nav_categories": Category.objects.order_by("name")}
