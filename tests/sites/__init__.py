"""Whole sites on other machines than the lab's; each test makes and removes its site."""
