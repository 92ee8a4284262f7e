"""The program for a stock Pulumi: the stack's name is the deployment's name."""

import pulumi
from hapacs import targets
from hapacs.deployment import Deployment
from hapacs.program import program

deployment = Deployment.load(pulumi.get_stack())
program(deployment.settings, targets.create(deployment.settings, deployment.state))
